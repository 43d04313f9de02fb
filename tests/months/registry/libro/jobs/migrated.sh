[ "$(cat /data/schema 2>/dev/null)" = "$VERSION" ]
