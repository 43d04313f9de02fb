# Is the first-visitor window closed? While it is open, /installation/onboarding shows the form that makes whoever fills it
# in the super administrator; afterwards it redirects.
set -eu
answer=$(wget -S -O /dev/null http://127.0.0.1:3000/installation/onboarding 2>&1 || true)
case $answer in
*"HTTP/1.1 302"*) exit 0 ;;
*) echo "the page that makes its first visitor the administrator is still open"; exit 1 ;;
esac
