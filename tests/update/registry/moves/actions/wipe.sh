echo wiped >/tmp/wiped
echo "everything of $PROJECT is gone"
