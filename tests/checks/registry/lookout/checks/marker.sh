[ -e /tmp/marker ] || { echo "there is no marker"; exit 1; }
