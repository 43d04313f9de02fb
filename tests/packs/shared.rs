//! Services over the client's shared PostgreSQL and Redis.

use crate::stage::{Stage, counts, enter, last_events};
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
    the_servers_password_is_a_file(stage);
    // a second run changes nothing
    stage.must(&runs, &only, 0);
    assert_eq!(counts(&last_events(&runs), "a", "changed"), 0);
}

/// It is neither in the container's environment nor in the stack, and a new one is a new container.
fn the_servers_password_is_a_file(stage: &Stage) {
    let folder = "/opt/ATS/VersatileHub/services/postgres";
    let look = || {
        let password = stage.inside("a", &format!("cat {folder}/.secrets/POSTGRES_PASSWORD"));
        assert!(password.len() > 20);
        for shown in [format!("cat {folder}/docker-compose.yml"), "docker inspect versatile-postgres".to_owned()] {
            let shown = stage.inside("a", &shown);
            assert!(shown.contains("/run/secrets/POSTGRES_PASSWORD") && !shown.contains(&password), "{shown}");
        }
        let read = stage.inside("a", "docker exec versatile-postgres sh -c 'cat \"$POSTGRES_PASSWORD_FILE\"'");
        assert_eq!(read, password);
        (stage.inside("a", "docker inspect -f '{{.Id}}' versatile-postgres"), password)
    };
    let modes = format!("cd {folder} && stat -c '%a %U' .secrets .secrets/POSTGRES_PASSWORD .env | paste -sd,");
    assert_eq!(stage.inside("a", &modes), "700 root,444 root,600 root");
    // whoever is not root gets no further than the folder
    let stranger = format!("su -s /bin/sh nobody -c 'cat {folder}/.secrets/POSTGRES_PASSWORD' 2>&1 || true");
    assert!(stage.inside("a", &stranger).ends_with("Permission denied"));
    let before = look();
    let rotate = ["secrets", "rotate", "postgres/POSTGRES_PASSWORD", "--host", "a", "--yes"];
    let runs = stage.runs("secret-files");
    let ran = stage.must(&runs, &rotate, 0);
    let after = look();
    assert!(before.0 != after.0 && before.1 != after.1);
    let journals = crate::stage::shell("cat \"$1\"/*/*", &[&crate::stage::text(&runs)]);
    for password in [&before.1, &after.1] {
        assert!(![&ran.stdout, &ran.stderr, &journals].iter().any(|text| text.contains(password)));
    }
    // a release that is kept would come back with a password that opens something
    let kept = "cd /var/lib/provision/releases/postgres; for f in */files/.secrets/POSTGRES_PASSWORD; do cat $f; echo; done | sort -u";
    let digests =
        format!("cd /var/lib/provision/releases/postgres; grep -h '_DIGEST=' */files/.env {folder}/.env | sort -u");
    assert_eq!((stage.inside("a", kept), stage.inside("a", &digests).lines().count()), (after.1, 1));
    let said = stage.must(&stage.runs("verify"), &["verify", "--host", "a", "--services", "postgres"], 0).stdout;
    assert!(said.contains("[OK] a/postgres login"), "{said}");
}
