//! Queries → shell → answers, without any input or output: all queries of one call become one request.
//!
//! Paths are looked at together, one `stat` for all of them and one `sha256sum` for all files, since what a question
//! costs on the host is the processes it starts. `stat` prints every path's name at the end of its line, and the
//! names are known, so even names with newlines cannot shift an answer to another question.

use std::time::Duration;

use super::frame::{KEPT, Step};
use crate::plan::{Answer, FileKind, FileStat, Output, Query, quote};

/// Most paths, and most bytes of paths, for one process: Linux takes 2 MiB of arguments.
const PATHS: usize = 1000;
const PATH_BYTES: usize = 256 << 10;

/// Which step answers what; made by [`compile`], used by [`Questions::answers`].
pub struct Questions<'a> {
    queries: &'a [Query],
    pub steps: Vec<Step>,
    /// How much of a step's output has to be kept.
    pub keep: usize,
    looks: [Look<'a>; 2],
    /// Query → step of its own, or why there is none.
    own: Vec<Option<Result<usize, String>>>,
}

/// What is asked about paths, links followed or not.
#[derive(Default)]
struct Look<'a> {
    paths: Vec<&'a str>,
    sums: Vec<&'a str>,
    /// Steps of the letters, the stats and the sums.
    at: Option<(usize, usize)>,
    sums_at: Option<usize>,
}

pub fn compile(queries: &[Query]) -> Questions<'_> {
    let mut looks = [Look::default(), Look::default()];
    let mut keep = KEPT;
    for query in queries {
        match query {
            Query::Stat { path, .. } | Query::Read { path, .. } if path.contains('\0') => {}
            Query::Stat { path, follow, checksum } => {
                let look = &mut looks[usize::from(*follow)];
                look.paths.push(path);
                if *checksum {
                    look.sums.push(path);
                }
            }
            // the size, for those that are too large
            Query::Read { path, limit } => {
                looks[1].paths.push(path);
                keep = keep.max(usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX));
            }
            Query::Run(_) => {}
        }
    }
    let mut steps = Vec::new();
    for (follow, look) in looks.iter_mut().enumerate() {
        let stat = if follow == 1 { "_pv_statl" } else { "_pv_stat" };
        if !look.paths.is_empty() {
            look.at = Some((steps.len(), steps.len() + 1));
            steps.push(Step::new(format!("LC_ALL=C; export LC_ALL\n_pv_look {follow}{}", words(&look.paths))));
            steps.push(Step::new(in_portions("LC_ALL=C; export LC_ALL\n", stat, &look.paths)));
        }
        if !look.sums.is_empty() {
            look.sums_at = Some(steps.len());
            let minutes = Duration::from_secs(1800);
            steps.push(Step { timeout: minutes, ..Step::new(in_portions("", "_pv_sum", &look.sums)) });
        }
    }
    let mut own = Vec::with_capacity(queries.len());
    for query in queries {
        let step = match query {
            Query::Stat { path, .. } | Query::Read { path, .. } if path.contains('\0') => {
                Some(Err("a path cannot contain a NUL byte".to_owned()))
            }
            Query::Stat { .. } => None,
            Query::Read { path, limit } => {
                // one more than wanted tells a larger file from one that just fits
                let most = limit.saturating_add(1).min(1 << 62);
                Some(Ok(Step::new(format!("LC_ALL=C; export LC_ALL\n_pv_read {most} {}", quote(path)))))
            }
            Query::Run(script) => Some(Step::of(script).map(in_c)),
        };
        own.push(step.map(|step| {
            step.map(|step| {
                steps.push(step);
                steps.len() - 1
            })
        }));
    }
    Questions { queries, steps, keep, looks, own }
}

/// What a question's programs say is parsed, so it has to be in English.
fn in_c(mut step: Step) -> Step {
    step.text.insert_str(0, "LC_ALL=C; export LC_ALL\n");
    step
}

fn words(paths: &[&str]) -> String {
    paths.iter().map(|path| format!(" {}", quote(path))).collect()
}

fn in_portions(before: &str, function: &str, paths: &[&str]) -> String {
    let mut text = before.to_owned();
    let mut rest = paths;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest.iter().take(PATHS).take_while(|path| {
            bytes += path.len() + 16;
            bytes <= PATH_BYTES
        });
        let count = count.count().max(1);
        text.push_str(&format!("{function}{}\n", words(&rest[..count])));
        rest = &rest[count..];
    }
    text.push(':');
    text
}

impl Questions<'_> {
    /// The answers, given one output per step.
    pub fn answers(&self, outputs: &[Output]) -> Vec<Answer> {
        let seen: Vec<Seen> = self.looks.iter().map(|look| look.read(outputs)).collect();
        let mut nth = [0usize; 2];
        let mut nth_sum = [0usize; 2];
        let mut answers = Vec::with_capacity(self.queries.len());
        for (query, own) in self.queries.iter().zip(&self.own) {
            let own = match own {
                Some(Err(why)) => {
                    answers.push(Answer::Refused(why.clone()));
                    continue;
                }
                Some(Ok(step)) => outputs.get(*step),
                None => None,
            };
            answers.push(match query {
                Query::Stat { follow, checksum, .. } => {
                    let which = usize::from(*follow);
                    let mut answer = seen[which].stat(nth[which]);
                    nth[which] += 1;
                    if *checksum {
                        let sum = seen[which].sums.get(nth_sum[which]).cloned().flatten();
                        nth_sum[which] += 1;
                        if let Answer::Stat(Some(stat)) = &mut answer
                            && stat.kind == FileKind::File
                        {
                            stat.checksum = sum;
                        }
                    }
                    answer
                }
                Query::Read { limit, .. } => {
                    let size = match seen[1].stat(nth[1]) {
                        Answer::Stat(Some(stat)) => stat.size,
                        _ => 0,
                    };
                    nth[1] += 1;
                    own.map_or_else(unanswered, |output| read(output, *limit, size))
                }
                Query::Run(_) => own.map_or_else(unanswered, |output| Answer::Output(output.clone())),
            });
        }
        answers
    }
}

fn unanswered() -> Answer {
    Answer::Refused("the host did not answer".to_owned())
}

fn read(output: &Output, limit: u64, size: u64) -> Answer {
    let got = output.stdout.len() as u64;
    match output.rc {
        0 if got > limit => Answer::TooLarge(size.max(got)),
        0 => Answer::Bytes(Some(output.stdout.clone())),
        3 => Answer::Bytes(None),
        4 => Answer::Refused(output.stdout_text()),
        _ => Answer::Refused(output.stderr_text().trim().to_owned()),
    }
}

/// What a look brought: per path its letter, its link's target and its line of `stat`.
#[derive(Default)]
struct Seen {
    letters: Vec<(u8, Option<String>)>,
    stats: Vec<Option<FileStat>>,
    sums: Vec<Option<String>>,
}

impl Seen {
    fn stat(&self, nth: usize) -> Answer {
        let (letter, target) = self.letters.get(nth).cloned().unwrap_or((b'?', None));
        match (letter, self.stats.get(nth).cloned().flatten()) {
            (_, Some(stat)) => Answer::Stat(Some(FileStat { target, ..stat })),
            (b'-', None) => Answer::Stat(None),
            (b'p', None) => Answer::Refused("permission denied".to_owned()),
            (b'd', None) => Answer::Refused("not a directory".to_owned()),
            // there when we looked first, gone a moment later
            (b'+', None) => Answer::Stat(None),
            _ => unanswered(),
        }
    }
}

impl Look<'_> {
    fn read(&self, outputs: &[Output]) -> Seen {
        let mut seen = Seen::default();
        if let Some((letters, stats)) = self.at
            && let (Some(letters), Some(stats)) = (outputs.get(letters), outputs.get(stats))
        {
            let records = letters.stdout.split(|byte| *byte == 0);
            seen.letters = records.filter(|record| !record.is_empty()).map(letter).collect();
            let mut rest = stats.stdout.as_slice();
            seen.stats = self.paths.iter().map(|path| take_stat(&mut rest, path)).collect();
        }
        if let Some(sums) = self.sums_at.and_then(|step| outputs.get(step)) {
            let mut rest = sums.stdout.as_slice();
            seen.sums = self.sums.iter().map(|path| take_sum(&mut rest, path)).collect();
        }
        seen
    }
}

fn letter(record: &[u8]) -> (u8, Option<String>) {
    let target = (record.len() > 1).then(|| String::from_utf8_lossy(&record[1..]).into_owned());
    (record[0], target)
}

/// Takes the line of this path off the front, if that is whose line comes next.
fn take_stat(rest: &mut &[u8], path: &str) -> Option<FileStat> {
    let mut fields = rest.splitn(11, |byte| *byte == b':');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let mode = u32::from_str_radix(field()?, 16).ok()?;
    let (uid, gid) = (field()?.parse().ok()?, field()?.parse().ok()?);
    let (size, mtime) = (field()?.parse().ok()?, field()?.parse().ok()?);
    let (inode, device, nlink) = (field()?.parse().ok()?, field()?.parse().ok()?, field()?.parse().ok()?);
    let (owner, group) = (named(field()?, uid), named(field()?, gid));
    let after = fields.next()?.strip_prefix(path.as_bytes())?.strip_prefix(b"\n")?;
    *rest = after;
    let kind = match mode & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Link,
        _ => FileKind::Other,
    };
    Some(FileStat {
        kind,
        mode: mode & 0o7777,
        uid,
        gid,
        owner,
        group,
        size,
        mtime,
        inode,
        device,
        nlink,
        target: None,
        checksum: None,
    })
}

fn named(name: &str, id: u32) -> String {
    if name == "UNKNOWN" { id.to_string() } else { name.to_owned() }
}

/// The same for `sha256sum`, which may write odd names in its own way, with a backslash in front of the line.
fn take_sum(rest: &mut &[u8], path: &str) -> Option<String> {
    let (line, name) = match rest.strip_prefix(b"\\") {
        Some(line) => (line, path.replace('\\', r"\\").replace('\n', r"\n").replace('\r', r"\r")),
        None => (*rest, path.to_owned()),
    };
    let (sum, after) = line.split_at_checked(64)?;
    let after = after.strip_prefix(b"  ")?.strip_prefix(name.as_bytes())?.strip_prefix(b"\n")?;
    *rest = after;
    String::from_utf8(sum.to_vec()).ok().filter(|sum| sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "427f93cafd9cc19be6eec03e590c9c6cdf9f688a5eaf21fa8d72351e2b15fd05";

    #[test]
    fn lines_of_stat_are_matched_by_name() {
        let mut rest: &[u8] = b"81a4:0:0:5:9:1:2:1:root:UNKNOWN:/a\nb\n41ed:0:0:5:9:1:2:1:root:root:/c\n";
        assert_eq!(take_stat(&mut rest, "/missing"), None);
        let stat = take_stat(&mut rest, "/a\nb");
        assert_eq!(stat.map(|stat| (stat.kind, stat.mode, stat.group)), Some((FileKind::File, 0o644, "0".to_owned())));
        assert_eq!(take_stat(&mut rest, "/c").map(|stat| stat.kind), Some(FileKind::Directory));
        assert!(rest.is_empty());
    }

    #[test]
    fn sums_are_matched_by_name_in_both_spellings() {
        let lines = format!("\\{SUM}  /a\\nb\n{SUM}  /a\nb\n{SUM}  /c\n");
        let mut rest = lines.as_bytes();
        assert_eq!(take_sum(&mut rest, "/a\nb").as_deref(), Some(SUM));
        assert_eq!(take_sum(&mut rest, "/a\nb").as_deref(), Some(SUM));
        assert_eq!(take_sum(&mut rest, "/unreadable"), None);
        assert_eq!(take_sum(&mut rest, "/c").as_deref(), Some(SUM));
    }

    #[test]
    fn many_paths_are_cut_into_portions() {
        let paths: Vec<String> = (0..2500).map(|n| format!("/p/{n}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(in_portions("", "f", &paths).matches("f ").count(), 3);
    }
}
