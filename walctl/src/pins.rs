//! Pins: what they keep, and `walctl unpin`.

use std::path::Path;

use serde_json::{Value, json};
use wal_engine::error::{Code, Error};
use wal_engine::format::pin::Pin;
use wal_engine::names::FileName;
use wal_engine::pins::{self, PinInfo};

use crate::cli::Unpin;
use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, escaped, number, print, print_json, size};
use crate::source::directory;

/// The pins of a log, in the order of their making. That of a log in use changes all the time, so it is looked at by itself.
pub(crate) fn list(dir: &Path) -> Result<std::result::Result<Vec<PinInfo>, Error>> {
    let storage = directory(dir)?;
    let mut found = Vec::new();
    let listed = pins::list(&storage, &mut |pin| {
        found.push(*pin);
        Ok(())
    });
    Ok(listed.map(|()| found))
}

/// By what a pin is called: its name, or that of its file if it is damaged.
pub(crate) fn name(info: &PinInfo) -> String {
    info.pin.map_or_else(|| FileName::Pin(info.index).to_string(), |pin| pin.name.as_str().to_string())
}

/// One line about a pin.
pub(crate) fn line(info: &PinInfo) -> String {
    let about = match info.pin {
        None => "damaged: no segment is dropped until it is; see walctl unpin".to_string(),
        Some(Pin { lost_to: Some(last), seq, max_bytes, .. }) => {
            let lost = crate::verify::seqs(seq + 1, last);
            format!("lost at its limit of {}; seq {lost} may be gone", size(max_bytes))
        }
        Some(pin) => {
            let limit = match (pin.max_bytes, pin.refuses) {
                (0, _) => String::new(),
                (bytes, false) => format!(" of at most {}", size(bytes)),
                (bytes, true) => format!(" of at most {}, above which appends fail", size(bytes)),
            };
            format!("keeps what is above seq {}, {}{limit}", number(pin.seq), size(info.held_bytes))
        }
    };
    format!("{}: {about}", name(info))
}

pub(crate) fn as_json(info: &PinInfo) -> Value {
    json!({
        "name": name(info),
        "seq": info.pin.map(|pin| pin.seq),
        "held_bytes": info.held_bytes,
        "max_bytes": info.pin.map(|pin| pin.max_bytes),
        "refuses": info.pin.is_some_and(|pin| pin.refuses),
        "lost": info.pin.is_some_and(|pin| pin.lost_to.is_some()),
        "damaged": info.pin.is_none(),
    })
}

pub(crate) fn unpin(output: Output, what: &Unpin) -> Result<Verdict> {
    let storage = directory(&what.dir)?;
    pins::remove(&storage, &what.name).map_err(|error| match error.code {
        // The log may be there, and have no such pin.
        Code::NotFound if pins::list(&storage, &mut |_| Ok(())).is_ok() => {
            Failure::Other(format!("{}: there is no pin \"{}\"", shown(&what.dir), escaped(what.name.as_bytes())))
        }
        _ => Failure::of(&what.dir, error),
    })?;
    if output.json {
        print_json(&json!({ "dir": shown(&what.dir), "unpinned": what.name }))?;
    } else {
        print(&format!("{}: dropped. The space comes back when the log is truncated next, or opened.\n", what.name))?;
    }
    Ok(Verdict::Good)
}
