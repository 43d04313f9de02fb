# The page that makes its first visitor the administrator redirects once there is one.
set -eu
wget -S -O /dev/null http://127.0.0.1:3000/installation/onboarding 2>&1 | grep -q 'HTTP/1.1 302' && exit
echo "no administrator yet"
exit 1
