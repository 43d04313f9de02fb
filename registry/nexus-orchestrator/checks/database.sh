# What is in the database: `tables` (those of the schema, and a tenant) or `new` (no conversations yet: those that are there are
# another installation's, or a test's).
server=${POSTGRES_DSN##*@}
server=${server%%[:/]*}
database=$(
    docker ps -q --filter "label=com.docker.compose.project=$server" --filter label=com.docker.compose.service=postgres
    docker ps -q --filter "label=com.docker.swarm.service.name=${server}_postgres"
)
[ -n "$database" ] || { echo "no PostgreSQL \`$server\` runs on this host"; exit 1; }
ask() { docker exec "$database" psql -qXtA -U postgres -d "$NEXUS_DB_NAME" -c "$1"; }
if [ "$1" = new ]; then
    count=$(ask "SELECT count(*) FROM chat_conversations") || exit 1
    [ "$count" = 0 ] || { echo "chat_conversations has $count rows already"; exit 1; }
    exit 0
fi
lacking=$(ask "SELECT string_agg(name, ', ') FROM unnest(array['tenants','professionals','chat_conversations','chat_messages']) name WHERE to_regclass('public.' || name) IS NULL") || exit 1
[ -z "$lacking" ] || { echo "no table $lacking: the log of the container \`schema\` says why"; exit 1; }
count=$(ask "SELECT count(*) FROM tenants") || exit 1
[ "$count" -gt 0 ] || { echo "the table tenants is empty: the orchestrator makes the first one when it starts"; exit 1; }
echo "tenants: $count"
