//! Reading answers: each function takes the answer at one position for what its question makes it.

use crate::plan::{Answer, Failure, FileStat, Output};

/// To `Stat`: what is there, or nothing.
pub fn stat<'a>(answers: &'a [Answer], at: usize, path: &str) -> Result<Option<&'a FileStat>, Failure> {
    match answers.get(at) {
        Some(Answer::Stat(stat)) => Ok(stat.as_ref()),
        other => Err(unfit(other, path)),
    }
}

/// To `Read`: the bytes, or nothing.
pub fn bytes<'a>(answers: &'a [Answer], at: usize, path: &str) -> Result<Option<&'a [u8]>, Failure> {
    match answers.get(at) {
        Some(Answer::Bytes(bytes)) => Ok(bytes.as_deref()),
        Some(Answer::TooLarge(size)) => {
            Err(Failure::new(format!("{path}: {size} bytes are too many to be read into memory")))
        }
        other => Err(unfit(other, path)),
    }
}

/// To `Run`: what the script left behind, whatever its exit code.
pub fn output<'a>(answers: &'a [Answer], at: usize, what: &str) -> Result<&'a Output, Failure> {
    match answers.get(at) {
        Some(Answer::Output(output)) => Ok(output),
        other => Err(unfit(other, what)),
    }
}

fn unfit(answer: Option<&Answer>, what: &str) -> Failure {
    match answer {
        Some(Answer::Refused(why)) => Failure::new(format!("{what}: {why}")),
        Some(_) => Failure::new(format!("{what}: the answer does not fit the question")),
        None => Failure::new(format!("{what}: the question was not answered")),
    }
}
