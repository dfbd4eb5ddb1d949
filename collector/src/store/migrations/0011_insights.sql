-- What of the container's configuration is dangerous, and since when it was seen: a JSON list.
-- NULL: it was never inspected.
ALTER TABLE containers ADD COLUMN exposure TEXT;
