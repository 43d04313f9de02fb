//! `get_url`: a file is there as it is at a URL, or with this digest.

use serde::Deserialize;

use super::{Request, fetch, plain};
use crate::modules::attributes::{Attributes, base_name, join, parent};
use crate::modules::{Build, args, observed, place, typed};
use crate::plan::{
    Answer, Change, Diff, Failure, FileKind, FileStat, Module, Object, Observed, Operation, Output, Part, Plan, Query,
    Return, Script, Then,
};

pub(super) const ARGS: &[&str] = &[
    "url",
    "dest",
    "checksum",
    "force",
    "mode",
    "owner",
    "group",
    "backup",
    "headers",
    "timeout",
    "url_username",
    "username",
    "url_password",
    "password",
    "force_basic_auth",
    "validate_certs",
    "http_agent",
    "tmp_dest",
];

#[derive(Deserialize)]
struct GetUrl {
    #[serde(flatten)]
    request: Request,
    #[serde(deserialize_with = "args::text")]
    dest: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    checksum: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
    #[serde(flatten)]
    attributes: Attributes,
}

struct Download {
    args: GetUrl,
    into_directory: bool,
    inside: String,
    checksum: Option<Checksum>,
}

/// `algorithm:digest`, or `algorithm:url of a list of digests`.
struct Checksum {
    tool: &'static str,
    digest: String,
}

pub(super) fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: GetUrl = typed(ARGS, args)?;
    args.request.check()?;
    let checksum = args.checksum.as_deref().filter(|text| !text.is_empty()).map(Checksum::parse).transpose()?;
    let into_directory = args.dest.ends_with('/');
    args.dest = args::host_path(&args.dest, build)?;
    let name = args.request.url.split(['?', '#']).next().map(base_name).unwrap_or_default();
    let inside = join(&args.dest, if name.is_empty() { "index.html" } else { name });
    Ok(Box::new(Download { args, into_directory, inside, checksum }))
}

impl Checksum {
    fn parse(text: &str) -> Result<Checksum, Failure> {
        let (algorithm, digest) = text.split_once(':').unwrap_or(("sha256", text));
        let (tool, length) = match algorithm {
            "md5" => ("md5sum", 32),
            "sha1" => ("sha1sum", 40),
            "sha256" => ("sha256sum", 64),
            "sha384" => ("sha384sum", 96),
            "sha512" => ("sha512sum", 128),
            other => return Err(Failure::new(format!("checksums by {other} are not supported"))),
        };
        let is_url = digest.contains("://");
        if !is_url && (digest.len() != length || !digest.chars().all(|c| c.is_ascii_hexdigit())) {
            return Err(Failure::new(format!("{digest:?} is not a digest by {algorithm}")));
        }
        Ok(Checksum { tool, digest: if is_url { digest.to_owned() } else { digest.to_lowercase() } })
    }

    fn is_url(&self) -> bool {
        self.digest.contains("://")
    }
}

impl Module for Download {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: &str| Query::Stat { path: path.to_owned(), follow: true, checksum: false };
        let mut queries = vec![stat(&self.args.dest), stat(&self.inside), stat(&parent(&self.args.dest))];
        if let Some(checksum) = &self.checksum {
            let script = Script::new().raw("for f in").arg(self.args.dest.as_str()).arg(self.inside.as_str());
            let script =
                script.raw("; do if [ -f \"$f\" ]; then").raw(checksum.tool).raw("< \"$f\"; else echo -; fi; done");
            queries.push(Query::Run(script));
        }
        queries
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let seen = |at| observed::stat(observed.answers, at, &self.args.dest);
        let dest = seen(0)?;
        let inside = self.into_directory || dest.is_some_and(|stat| stat.kind == FileKind::Directory);
        let (path, stat) = if inside { (self.inside.as_str(), seen(1)?) } else { (self.args.dest.as_str(), dest) };
        place::need_directory(path, if inside { dest } else { seen(2)? })?;
        let digest = match &self.checksum {
            Some(checksum) if checksum.is_url() => match observed.more.first() {
                None => return Ok(Plan::Ask(vec![Query::Run(list_of_digests(&checksum.digest))])),
                Some(Answer::Output(output)) => Some(self.listed(output, path)?),
                Some(_) => return Err(Failure::new("the list of digests could not be read")),
            },
            Some(checksum) => Some(checksum.digest.clone()),
            None => None,
        };
        let mut values = self.args.attributes.returned(stat, false);
        values.insert("dest".to_owned(), path.into());
        values.insert("url".to_owned(), self.args.request.url.as_str().into());
        let returned = Return { values, ..Return::default() };
        let current = match &self.checksum {
            Some(_) => {
                let text = observed::output(observed.answers, 3, path)?.stdout_text();
                let line = text.lines().nth(usize::from(inside)).unwrap_or_default();
                line.split_whitespace().next().map(str::to_owned)
            }
            None => None,
        };
        if let Some(stat) = stat {
            let right = digest.is_some() && digest == current;
            if right || (digest.is_none() && !self.args.force) {
                let pending = self.args.attributes.pending(stat);
                if pending.is_empty() {
                    let why = if right { "the digest is right" } else { "exists, and `force` is off" };
                    return Ok(Plan::NoChange(Return { msg: Some(why.to_owned()), ..returned }));
                }
                let (before, after) = pending.describe(stat);
                let operation = Operation::run(pending.append(Script::new().raw(":"), path));
                return Ok(change(path, before, after, operation, returned));
            }
        }
        let before = match stat {
            None => "(absent)\n".to_owned(),
            Some(stat) => format!("{} bytes {}\n", stat.size, current.unwrap_or_default()),
        };
        let after = format!("{} {}\n", self.args.request.url, digest.as_deref().unwrap_or_default());
        let operation =
            Operation::Run { script: self.script(path, stat, digest.as_deref()), accept: (0..=255).collect() };
        Ok(change(path, before, after, operation, returned))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let Some(output) = outputs.last() else { return Ok(Return::default()) };
        if !output.ok() {
            let text = output.stderr_text();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("curl: ");
            let failure = Failure::new(format!("{} could not be downloaded: {why}", self.args.request.url));
            return Err(failure.with("rc", output.rc).with("stderr", text.trim_end()));
        }
        let same = output.stdout_text().trim() == "same";
        Ok(Return {
            changed: Some(!same),
            msg: Some(if same { "the content is the same" } else { "downloaded" }.to_owned()),
            ..Return::default()
        })
    }
}

impl Download {
    fn script(&self, path: &str, stat: Option<&FileStat>, digest: Option<&str>) -> Script {
        let template = join(&parent(path), ".provision.XXXXXX");
        let script = Script::new().raw("umask 077; t=$(mktemp").arg(template).raw(") && trap 'rm -f \"$t\"' EXIT &&");
        let mut script = fetch(script, &self.args.request.url, self.args.request.needs_curl());
        if let (Some(digest), Some(checksum)) = (digest, &self.checksum) {
            script = script.raw("&& s=$(").raw(checksum.tool).raw("< \"$t\") && { [ \"${s%% *}\" =").arg(digest);
            script =
                script.raw("] || { echo \"the digest is ${s%% *}, which is not the wanted one\" >&2; exit 65; }; }");
        }
        // what is there keeps its attributes unless the task says otherwise
        let mut wanted = self.args.attributes.of_new(false);
        wanted.mode = match (&self.args.attributes.mode, stat) {
            (Some(mode), Some(stat)) => Some(mode.bits(stat.mode, false)),
            (Some(mode), None) => Some(mode.bits_of_new(false)),
            (None, stat) => Some(stat.map_or(0o644, |stat| stat.mode)),
        };
        if let Some(stat) = stat {
            script = script.raw("&& if cmp -s \"$t\"").arg(path);
            let pending = self.args.attributes.pending(stat);
            script = match pending.is_empty() {
                true => script.raw("; then echo same; exit 0; fi"),
                false => script.raw("; then :; fi"),
            };
            wanted.owner = wanted.owner.or_else(|| Some(stat.owner.clone()));
            wanted.group = wanted.group.or_else(|| Some(stat.group.clone()));
            if self.args.backup {
                let kept = Part::Operator(format!("{}.$(date +%s)~", crate::plan::quote(path)));
                script = script.raw("&& cp -p").arg(path);
                script.parts.push(kept);
            }
        }
        let mut script = wanted.append_part(script, &Part::Raw("\"$t\"")).raw("&& mv -f \"$t\"").arg(path);
        let mut config = self.args.request.config();
        config.set("connect-timeout", &self.args.request.timeout.unwrap_or(10).max(1).to_string());
        script.stdin = Some(config.0.into_bytes());
        script.timeout(std::time::Duration::from_secs(3600))
    }

    /// The digest that the list has for this file: `digest  name` per line, or a digest alone.
    fn listed(&self, output: &Output, path: &str) -> Result<String, Failure> {
        let url = self.checksum.as_ref().map_or("", |checksum| checksum.digest.as_str());
        if !output.ok() {
            return Err(Failure::new(format!("{url} could not be downloaded: {}", output.stderr_text().trim())));
        }
        let text = output.stdout_text();
        let name = base_name(self.args.request.url.split(['?', '#']).next().unwrap_or_default());
        let lines: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| {
                let (digest, file) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
                let file = file.trim().trim_start_matches(['*']).trim_start_matches("./");
                (!digest.is_empty()).then_some((digest, file))
            })
            .collect();
        let found = lines.iter().find(|(_, file)| *file == name || *file == base_name(path));
        let alone = || lines.first().filter(|(_, file)| lines.len() == 1 && file.is_empty());
        match found.or_else(alone) {
            Some((digest, _)) => Ok(digest.to_lowercase()),
            None => Err(Failure::new(format!("{url} has no digest for {name}"))),
        }
    }
}

fn list_of_digests(url: &str) -> Script {
    let script = Script::new().raw("t=$(mktemp) && trap 'rm -f \"$t\"' EXIT &&");
    let mut script = fetch(script, url, false).raw("&& cat \"$t\"");
    script.stdin = Some(plain(url));
    script
}

fn change(path: &str, before: String, after: String, operation: Operation, forecast: Return) -> Plan {
    let diff = Diff { before_header: path.to_owned(), after_header: path.to_owned(), before, after };
    Plan::Change(Change { diff: vec![diff], operations: vec![operation], then: Then::Finish, forecast })
}
