# Puts the value back.
[ "$NOTES_TOKEN" = "$(tr "\0" "\n" </proc/1/environ | sed -n s/^NOTES_TOKEN=//p)" ] || exit 3
cat >/state/value
