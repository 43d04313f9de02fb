# A new client has no conversations: those that are there are another installation's, or a test's.
server=${POSTGRES_DSN##*@}
server=${server%%[:/]*}
database=$(
    docker ps -q --filter "label=com.docker.compose.project=$server" --filter label=com.docker.compose.service=postgres
    docker ps -q --filter "label=com.docker.swarm.service.name=${server}_postgres"
)
[ -n "$database" ] || { echo "no PostgreSQL \`$server\` runs on this host"; exit 1; }
count=$(docker exec "$database" psql -qXtA -U postgres -d "$NEXUS_DB_NAME" -c "SELECT count(*) FROM chat_conversations") || exit 1
[ "$count" = 0 ] || { echo "chat_conversations has $count rows already"; exit 1; }
