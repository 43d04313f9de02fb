[ -n "$API_KEY" ] && : >/tmp/marker
