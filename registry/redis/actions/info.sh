# How full it is and who is connected.
set -eu
export REDISCLI_AUTH="${REDIS_PASSWORD:?}"
for section in server clients memory persistence keyspace; do redis-cli info "$section"; done | tr -d '\r' |
    grep -E '^(redis_version|uptime_in_days|connected_clients|used_memory_human|maxmemory_human|rdb_last_bgsave_status|aof_last_write_status|db[0-9]+):'
