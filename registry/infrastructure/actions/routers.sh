# Which names the proxy answers to, and which container is behind each.
set -eu
docker ps -q | xargs -r docker inspect --format \
    '{{$name := .Name}}{{range $key, $value := .Config.Labels}}{{printf "%s %s=%s\n" $name $key $value}}{{end}}' |
    sed -n 's|^/\([^ ]*\) traefik\.http\.routers\.\([^.]*\)\.rule=\(.*\)|\2: \3 -> \1|p' | sort
