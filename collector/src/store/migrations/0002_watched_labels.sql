-- Labels that ask for endpoints and certificates to be watched: a JSON object of texts.
ALTER TABLE containers ADD COLUMN watched_labels TEXT NOT NULL DEFAULT '{}';
