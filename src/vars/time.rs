//! `now()` and `strftime`.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, Outcome, wrong};

/// A moment, as Python's `datetime`.
#[derive(Debug)]
struct Moment(Zoned);

pub(super) fn is_moment(value: &Value) -> bool {
    value.downcast_object_ref::<Moment>().is_some()
}

/// `now(utc=false, fmt=none)`.
pub(super) fn now(args: &Args) -> Outcome {
    let now = if args.flag(0, "utc") { Timestamp::now().to_zoned(TimeZone::UTC) } else { Zoned::now() };
    match args.text(1, "fmt")? {
        Some(format) => formatted(&now, &format).map(Value::from),
        None => Ok(Value::from_object(Moment(now))),
    }
}

/// `'%Y' | strftime(second, utc=false)`.
pub(super) fn strftime(format: &str, args: &Args) -> Outcome {
    let moment = match args.get(0, "second") {
        None => Timestamp::now(),
        Some(second) => {
            let second = f64::try_from(second.clone())
                .ok()
                .or_else(|| second.as_str()?.trim().parse().ok())
                .ok_or_else(|| wrong("`strftime` needs seconds since the epoch"))?;
            let whole = second.floor() as i64;
            Timestamp::from_second(whole).map_err(|_| wrong("`strftime`: that many seconds are out of range"))?
        }
    };
    let zone = if args.flag(1, "utc") { TimeZone::UTC } else { TimeZone::system() };
    formatted(&moment.to_zoned(zone), format).map(Value::from)
}

fn formatted(moment: &Zoned, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, moment).map_err(|_| wrong(format!("`{format}` is not a time format")))
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let moment = &self.0;
        Some(match key.as_str()? {
            "year" => Value::from(moment.year()),
            "month" => Value::from(moment.month()),
            "day" => Value::from(moment.day()),
            "hour" => Value::from(moment.hour()),
            "minute" => Value::from(moment.minute()),
            "second" => Value::from(moment.second()),
            _ => return None,
        })
    }
    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, values: &[Value]) -> Result<Value, Error> {
        let args = Args::new(values)?;
        match method {
            "strftime" => formatted(&self.0, &args.text(0, "format")?.unwrap_or_default()).map(Value::from),
            "isoformat" => formatted(&self.0, "%Y-%m-%dT%H:%M:%S%.6f").map(Value::from),
            "timestamp" => Ok(Value::from(self.0.timestamp().as_second())),
            "date" => formatted(&self.0, "%Y-%m-%d").map(Value::from),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&formatted(&self.0, "%Y-%m-%d %H:%M:%S%.6f").unwrap_or_default())
    }
}
