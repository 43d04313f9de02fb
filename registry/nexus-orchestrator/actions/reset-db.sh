# The tables of the conversations are dropped and made anew by the schema, in one transaction: where the schema cannot make
# them again nothing is lost. Then the orchestrator starts again, for its migrations.
set -eu
server=${POSTGRES_DSN##*@}
server=${server%%[:/]*}
database=$(
    docker ps -q --filter "label=com.docker.compose.project=$server" --filter label=com.docker.compose.service=postgres
    docker ps -q --filter "label=com.docker.swarm.service.name=${server}_postgres"
)
[ -n "$database" ] || { echo "no PostgreSQL \`$server\` runs on this host" >&2; exit 1; }
{
    cat <<'SQL'
SET client_min_messages = warning;
SET lock_timeout = '10s';
SET ROLE :"owner";
DROP TABLE IF EXISTS chat_messages CASCADE;
DROP TABLE IF EXISTS chat_conversations CASCADE;
SQL
    cat "$ROOT/schema/dentalogic_schema.sql"
} | docker exec -i "$database" psql -qX -v ON_ERROR_STOP=1 -v owner="$NEXUS_DB_USER" --single-transaction -U postgres -d "$NEXUS_DB_NAME" -f -
if docker service inspect "${PROJECT}_orchestrator" >/dev/null 2>&1; then
    docker service update --quiet --force "${PROJECT}_orchestrator" >/dev/null
else
    docker restart "$PROJECT" >/dev/null
    tries=180
    until [ "$(docker inspect -f '{{.State.Health.Status}}' "$PROJECT")" = healthy ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "the tables are new, but $PROJECT does not become healthy" >&2; exit 1; }
        sleep 1
    done
fi
echo "chat_messages and chat_conversations are new and empty; the orchestrator has started again"
