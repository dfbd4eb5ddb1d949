# Edits every service of this image, and brings up one of them.
cd -- '/srv/my shop' &&
{ grep -Eq -e '^([[:space:]]*image:[[:space:]]*["'\'']?)nginx:1\.29(["'\'']?[[:space:]]*(#.*)?)$' '/srv/my shop/compose.yaml' ||
  { echo 'no such image is written there: edit the file by hand' >&2; false; }; } &&
sed -i -E 's#^([[:space:]]*image:[[:space:]]*["'\'']?)nginx:1\.29(["'\'']?[[:space:]]*(\#.*)?)$#\1nginx:1.27@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\2#' '/srv/my shop/compose.yaml' &&
docker compose -p shop --project-directory '/srv/my shop' -f '/srv/my shop/compose.yaml' pull web &&
docker compose -p shop --project-directory '/srv/my shop' -f '/srv/my shop/compose.yaml' up -d --no-deps web
