//! Services over the client's shared PostgreSQL and Redis.

use crate::stage::{counts, enter, last_events};
use crate::{SCENE, sql};

#[test]
fn typebot_and_chatwoot_live_in_the_shared_databases() {
    let Some((_turn, stage)) = enter(&SCENE, "shared databases") else { return };
    let runs = stage.runs("shared");
    let only = ["--host", "a", "--services", "typebot,chatwoot", "--yes"];
    stage.must(&runs, &only, 0);
    assert_eq!(sql(stage, "typebot", "select count(*) from _prisma_migrations"), "2");
    assert_eq!(sql(stage, "chatwoot", "select min(email) || ' ' || count(*) from users"), "admin@tienda.example 1");
    // each in a database of its own, with a user that cannot look into the other's
    let owners = "select string_agg(datname || ' ' || pg_get_userbyid(datdba), ', ' order by datname) from pg_database \
                  where datname in ('typebot', 'chatwoot')";
    assert_eq!(sql(stage, "postgres", owners), "chatwoot chatwoot, typebot typebot");
    // a bot that is published in the database is what the viewer shows to a visitor
    sql(stage, "typebot", r#"insert into "Typebot" values ('1', 'hola', 'Bot de la tienda') on conflict do nothing"#);
    let seen = stage.inside("a", "curl -sk --resolve bot.tienda.example:443:127.0.0.1 https://bot.tienda.example/hola");
    assert_eq!(seen, "<html>Bot de la tienda</html>");
    // a second run changes nothing
    stage.must(&runs, &only, 0);
    assert_eq!(counts(&last_events(&runs), "a", "changed"), 0);
}
