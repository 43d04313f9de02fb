//! A Python application under systemd behind nginx, with a certificate of a real ACME authority (Debian's pebble), on a host
//! without containers. pip takes uvicorn from its index.

use crate::stage::{Stage, counts, last_events};

const PEBBLE: &str = r#"set -e
apt-get install -y -qq --no-install-recommends pebble >/dev/null 2>&1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout /root/pebble.key -out /root/pebble.crt 2>/dev/null
echo '{"pebble":{"listenAddress":"127.0.0.1:14000","managementListenAddress":"127.0.0.1:15000","certificate":"/root/pebble.crt","privateKey":"/root/pebble.key","httpPort":80,"tlsPort":443}}' >/root/pebble.json
grep -q maravia /etc/hosts || echo '127.0.0.1 api.maravia.example' >>/etc/hosts
PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 setsid pebble -config /root/pebble.json >/root/pebble.log 2>&1 </dev/null &
until curl -sk https://127.0.0.1:14000/dir >/dev/null; do sleep 0.2; done"#;

const SITE: &str = "{site_domain: api.maravia.example, site_name: orquestador, certbot_email: ops@maravia.example, \
    certbot_server: 'https://localhost:14000/dir', certbot_environment: {REQUESTS_CA_BUNDLE: /root/pebble.crt}MORE}";

fn play(stage: &Stage, book: &str, vars: &str, code: i32) -> (String, u64) {
    let runs = stage.runs("site");
    let ran = stage.must(&runs, &["run", book, "--limit", "b", "-e", vars], code);
    (ran.stderr + &ran.stdout, counts(&last_events(&runs), "b", "changed"))
}

pub fn an_application_under_systemd_behind_nginx(stage: &Stage) {
    // where TLS is intercepted, pip needs this machine's authorities
    let machine = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    std::fs::write(stage.scratch.join("ca.crt"), machine).unwrap();
    let copied = crate::stage::text(&stage.scratch.join("ca.crt"));
    crate::stage::shell("docker cp -q -L \"$1\" pv-packs-test-b:/root/ca.crt", &[&copied]);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/maravia");
    let app = format!(
        "{{app_name: orquestador, app_user: maravia, app_home: /opt/maravia/orquestador, app_source: {fixture}, \
        app_module: 'src.orquestador.main:app', app_env: {{OPENAI_API_KEY: sk-planted, OPENAI_MODEL: gpt-4o}}, \
        app_pip_environment: {{PIP_CERT: /root/ca.crt}}MORE}}"
    );
    let book = "playbooks/python-app.yml";
    // what is too old is said before anything is touched
    let (said, changed) = play(stage, book, &app.replace("MORE", ", app_commands: {tar: '>=99'}"), 1);
    assert!(said.contains("tar is 1.") && said.contains(", orquestador needs >=99"), "{said}");
    let there = stage.inside(
        "b",
        "ls -d /opt/maravia /etc/systemd/system/orquestador.service 2>/dev/null; id -u maravia 2>/dev/null; true",
    );
    assert_eq!((changed, there.as_str()), (0, ""));
    play(stage, book, &app.replace("MORE", ", app_commands: {tar: '>=1.0'}"), 0);
    assert_eq!(play(stage, book, &app.replace("MORE", ""), 0).1, 0, "a second run");
    let unit = stage.inside("b", "cat /etc/systemd/system/orquestador.service");
    let workers = 2 * stage.inside("b", "nproc").parse::<u32>().unwrap() + 1;
    for line in [
        "After=network.target",
        "Type=exec",
        "User=maravia",
        "Group=maravia",
        "WorkingDirectory=/opt/maravia/orquestador",
        "Environment=\"PATH=/opt/maravia/orquestador/venv/bin:",
        "EnvironmentFile=/opt/maravia/orquestador/.env",
        "ExecStart=/opt/maravia/orquestador/venv/bin/uvicorn src.orquestador.main:app",
        "Restart=always",
        "RestartSec=5",
        "WantedBy=multi-user.target",
    ] {
        assert!(unit.contains(line), "{line}: {unit}");
    }
    assert!(unit.contains(&format!("--workers {workers}")), "{unit}");
    assert_eq!(stage.inside("b", "stat -c '%a %U' /opt/maravia/orquestador/.env"), "600 root");
    assert!(!unit.contains("sk-planted"));
    assert_eq!(stage.inside("b", "ps -o user= -C uvicorn | sort -u"), "maravia");
    // a setting that the program does not start with: its last words are in the report
    let silent = app.replace("OPENAI_API_KEY: sk-planted, ", "").replace("MORE", ", app_port: 8001");
    let (said, _) = play(stage, book, &silent, 1);
    assert!(said.contains("OPENAI_API_KEY no configurada"), "{said}");
    play(stage, book, &app.replace("MORE", ""), 0);

    let book = "playbooks/nginx-site.yml";
    stage.inside("b", PEBBLE);
    play(stage, book, &SITE.replace("MORE", ""), 0);
    assert_eq!(play(stage, book, &SITE.replace("MORE", ""), 0).1, 0, "a second run");
    let written = stage.inside("b", "cat /etc/nginx/sites-enabled/orquestador");
    for line in [
        "upstream orquestador {",
        "server 127.0.0.1:8000;",
        "keepalive 32;",
        "listen 80;",
        "server_name api.maravia.example;",
        "proxy_http_version 1.1;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header Connection \"\";",
        "proxy_connect_timeout 60s;",
        "proxy_read_timeout 120s;",
        "location /health {",
        "access_log off;",
        "rate=10r/s;",
        "burst=20 nodelay;",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    let issued =
        stage.inside("b", "openssl x509 -noout -issuer -in /etc/letsencrypt/live/api.maravia.example/cert.pem");
    assert!(issued.contains("Pebble"), "{issued}");
    let see =
        |url: &str| stage.inside("b", &format!("curl -sk -w ' %{{http_code}} %{{redirect_url}}' '{url}' | tail -n1"));
    assert!(see("https://api.maravia.example/health").starts_with(r#"{"status":"ok","service":"orquestador"} 200"#));
    assert!(see("http://api.maravia.example/x").ends_with(" 301 https://api.maravia.example/x"));
    assert_eq!(stage.inside("b", "systemctl is-enabled certbot.timer"), "enabled");
    // 10 a second and 20 at once; the rest is turned away
    let burst = "curl -sk -o /dev/null -w '%{http_code}\\n' 'https://api.maravia.example/api/[1-60]' | sort | uniq -c";
    assert!(stage.inside("b", burst).contains("503"), "no limit");
    // what nginx refuses is taken back
    let (said, _) = play(stage, book, &SITE.replace("MORE", ", site_read_timeout: never"), 1);
    assert!(said.contains("the one before is back") && said.contains("proxy_read_timeout"), "{said}");
    stage.inside("b", "nginx -tq && grep -q 'proxy_read_timeout 120s' /etc/nginx/sites-available/orquestador");
    assert!(see("https://api.maravia.example/health").contains(" 200"));
}
