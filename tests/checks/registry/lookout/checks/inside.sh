[ "$WANTED" = "$API_KEY" ] || { echo "the key of the container is another one" >&2; exit 1; }
echo "the key is there"
