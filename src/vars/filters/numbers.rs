//! `int`, `float`, `random`, `human_readable` and other filters about numbers and chance.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::args::{Args, Outcome, items, text, wrong};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("int", |_, value, args| int(value, args)),
    ("float", |_, value, args| float(value, args)),
    ("random", |_, value, args| random(value, args)),
    ("shuffle", |_, value, args| shuffle(value, args)),
    ("human_readable", |_, value, args| human_readable(value, args)),
    ("human_to_bytes", |_, value, args| human_to_bytes(value, args)),
    ("filesizeformat", |_, value, args| filesizeformat(value, args)),
    ("log", |_, value, args| {
        let base = args.get(0, "base").map(number).transpose()?.unwrap_or(std::f64::consts::E);
        Ok(number(value)?.log(base).into())
    }),
    ("pow", |_, value, args| Ok(number(value)?.powf(number(args.need(0, "y")?)?).into())),
    ("root", |_, value, args| {
        let base = args.get(0, "base").map(number).transpose()?.unwrap_or(2.0);
        Ok(number(value)?.powf(1.0 / base).into())
    }),
];

const UNITS: &[(char, u32)] = &[('Y', 80), ('Z', 70), ('E', 60), ('P', 50), ('T', 40), ('G', 30), ('M', 20), ('K', 10)];

fn number(value: &Value) -> Result<f64, Error> {
    f64::try_from(value.clone())
        .ok()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .ok_or_else(|| wrong("a number is needed"))
}

fn int(value: &Value, args: &Args) -> Outcome {
    let default = || args.get(0, "default").cloned().unwrap_or_else(|| Value::from(0));
    match value.kind() {
        ValueKind::Bool => Ok(i64::from(value.is_true()).into()),
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => Ok(truncated(number(value)?).unwrap_or_else(default)),
        ValueKind::String => {
            let base = u32::try_from(args.int(1, "base")?.unwrap_or(10)).unwrap_or(10).clamp(2, 36);
            let digits = value.as_str().unwrap_or_default().trim().replace('_', "").to_lowercase();
            let (negative, digits) = match digits.strip_prefix('-') {
                Some(rest) => (true, rest.to_owned()),
                None => (false, digits.trim_start_matches('+').to_owned()),
            };
            let bare = match base {
                16 => digits.trim_start_matches("0x"),
                8 => digits.trim_start_matches("0o"),
                2 => digits.trim_start_matches("0b"),
                _ => &digits,
            };
            if let Ok(n) = i64::from_str_radix(bare, base) {
                return Ok(if negative { -n } else { n }.into());
            }
            let float = digits.parse::<f64>().ok().filter(|_| base == 10).and_then(truncated);
            Ok(match float {
                Some(n) if negative => i64::try_from(n).map_or_else(|_| default(), |n| Value::from(-n)),
                Some(n) => n,
                None => default(),
            })
        }
        _ => Ok(default()),
    }
}

fn truncated(float: f64) -> Option<Value> {
    // i128 holds every finite number that people mean; infinities and NaN are not integers
    (float.is_finite() && float.abs() < 1e30).then(|| Value::from(float.trunc() as i128))
}

fn float(value: &Value, args: &Args) -> Outcome {
    if value.kind() == ValueKind::Bool {
        return Ok(f64::from(u8::from(value.is_true())).into());
    }
    Ok(match number(value) {
        Ok(n) => n.into(),
        Err(_) => args.get(0, "default").cloned().unwrap_or_else(|| Value::from(0.0)),
    })
}

/// Random numbers: the operating system's, or a fixed sequence for a seed.
struct Chance(Option<u64>);

impl Chance {
    fn new(args: &Args, index: usize) -> Result<Chance, Error> {
        let Some(seed) = args.get(index, "seed") else { return Ok(Chance(None)) };
        let start = text(seed)?
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Ok(Chance(Some(start)))
    }

    fn next(&mut self) -> Result<u64, Error> {
        match &mut self.0 {
            Some(state) => {
                // splitmix64
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                Ok(z ^ (z >> 31))
            }
            None => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).map_err(|_| wrong("the operating system has no random numbers"))?;
                Ok(u64::from_le_bytes(bytes))
            }
        }
    }

    /// A number below `limit`, each as likely as any other.
    fn below(&mut self, limit: u64) -> Result<u64, Error> {
        let unfair = (u64::MAX % limit).wrapping_add(1) % limit;
        loop {
            let n = self.next()?;
            if n <= u64::MAX - unfair {
                return Ok(n % limit);
            }
        }
    }
}

fn random(value: &Value, args: &Args) -> Outcome {
    let mut chance = Chance::new(args, 2)?;
    if let Ok(end) = i64::try_from(value.clone())
        && value.is_integer()
    {
        let start = args.int(0, "start")?.unwrap_or(0);
        let step = args.int(1, "step")?.filter(|step| *step != 0).unwrap_or(1);
        let steps = u64::try_from((i128::from(end) - i128::from(start) + i128::from(step) - 1) / i128::from(step));
        let steps =
            steps.ok().filter(|steps| *steps > 0).ok_or_else(|| wrong("`random`: there is no number in that range"))?;
        let picked = i64::try_from(chance.below(steps)?).unwrap_or_default();
        return Ok((start + picked * step).into());
    }
    let list = if value.as_str().is_some() { value.try_iter()?.collect() } else { items(value)? };
    let length = u64::try_from(list.len()).unwrap_or_default();
    if length == 0 {
        return Err(wrong("`random` of an empty list"));
    }
    let at = usize::try_from(chance.below(length)?).unwrap_or_default();
    Ok(list.get(at).cloned().unwrap_or_default())
}

fn shuffle(value: &Value, args: &Args) -> Outcome {
    let mut chance = Chance::new(args, 0)?;
    let mut list = items(value)?;
    for last in (1..list.len()).rev() {
        let other = usize::try_from(chance.below(last as u64 + 1)?).unwrap_or_default();
        list.swap(last, other);
    }
    Ok(list.into())
}

fn human_readable(value: &Value, args: &Args) -> Outcome {
    let size = number(value)?;
    let letter = if args.flag(0, "isbits") { "b" } else { "B" };
    let wanted = args.text(1, "unit")?.and_then(|unit| unit.chars().next()).map(|c| c.to_ascii_uppercase());
    for (unit, power) in UNITS {
        let whole = 2f64.powi(i32::try_from(*power).unwrap_or_default());
        if wanted == Some(*unit) || (wanted.is_none() && size >= whole) {
            return Ok(format!("{:.2} {unit}{letter}", size / whole).into());
        }
    }
    let word = if letter == "b" { "bits" } else { "Bytes" };
    Ok(format!("{size:.2} {word}").into())
}

fn human_to_bytes(value: &Value, args: &Args) -> Outcome {
    let size = text(value)?;
    let size = size.trim();
    let end = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
    let amount: f64 = size[..end].parse().map_err(|_| wrong("`human_to_bytes` needs something like 10M or 1.5 GB"))?;
    let mut unit = size[end..].trim().to_owned();
    if unit.is_empty() {
        unit = args.text(0, "default_unit")?.unwrap_or_default();
    }
    let first = unit.chars().next().map(|c| c.to_ascii_uppercase());
    let power = match first {
        None | Some('B') => 0,
        Some(first) => UNITS.iter().find(|(unit, _)| *unit == first).map(|(_, power)| *power).ok_or_else(|| {
            wrong(format!("`human_to_bytes` does not know the unit `{unit}`: use B, K, M, G, T, P, E, Z or Y"))
        })?,
    };
    let bytes = amount * 2f64.powi(i32::try_from(power).unwrap_or_default());
    truncated(bytes.round()).ok_or_else(|| wrong("`human_to_bytes`: that is too much"))
}

fn filesizeformat(value: &Value, args: &Args) -> Outcome {
    let bytes = number(value)?;
    let (base, names) = if args.flag(0, "binary") {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB"])
    };
    if bytes < base {
        return Ok(if (bytes - 1.0).abs() < f64::EPSILON {
            "1 Byte".into()
        } else {
            format!("{bytes:.0} Bytes").into()
        });
    }
    let mut size = bytes;
    let mut unit = "";
    for name in names {
        size /= base;
        unit = name;
        if size < base {
            break;
        }
    }
    Ok(format!("{size:.1} {unit}").into())
}
