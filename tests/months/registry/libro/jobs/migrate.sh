[ "$MIGRATES" = yes ] || { echo 'column "año" already exists' >&2; exit 1; }
echo "$VERSION" >/data/schema
