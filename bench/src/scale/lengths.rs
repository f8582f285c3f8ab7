//! Logs of 64 MiB to 8 GiB: opening, reading all of it, and memory.

use super::grown;
use crate::abi::Outcome;
use crate::charts::{Axis, Chart, Marks, Series};
use crate::figures::{Table, bytes, rate, us};
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const SEGMENT: u64 = 16 << 20;
const RECORD: u64 = 1 << 10;

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, report: &Report) -> Outcome<()> {
    let columns = ["log", "open after a kill", "open, clean", "read", "replay", "records/s", "memory, open", "memory, read"];
    table.grid("Logs of records of 1 KiB by length, in the page cache; memory: growth of the resident set, code included", &columns);
    let mebibytes: &[u64] = match plan.extent {
        Extent::Check => &[32],
        Extent::Quick => &[64, 256, 1024],
        Extent::Full => &[64, 128, 256, 512, 1024, 2048, 4096, 8192],
    };
    let dir = place.fresh("lengths")?;
    let mut times = ["open after a kill", "open after a clean close", "open and read everything"]
        .map(|name| Series { name: name.into(), points: Vec::new() });
    let mut memory = ["open", "with a cursor that has read everything"].map(|name| Series { name: name.into(), points: Vec::new() });
    for length in mebibytes.iter().map(|mebibytes| mebibytes << 20) {
        let (killed, clean) = grown::visits(dir.path(), SEGMENT, RECORD, length / SEGMENT)?;
        table.line(vec![
            bytes(length as f64),
            us(killed.open_ms * 1e3),
            us(clean.open_ms * 1e3),
            format!("{}, {}", bytes(killed.bytes_read), bytes(clean.bytes_read)),
            us(clean.read_s * 1e6),
            rate(clean.records / clean.read_s),
            bytes(clean.open_memory),
            bytes(clean.read_memory),
        ]);
        let at = length as f64;
        for (series, ms) in times.iter_mut().zip([killed.open_ms, clean.open_ms, clean.open_ms + clean.read_s * 1e3]) {
            series.points.push((at, ms));
        }
        for (series, memory) in memory.iter_mut().zip([clean.open_memory, clean.read_memory]) {
            series.points.push((at, memory / f64::from(1 << 20)));
        }
    }
    let lengths = || Axis { label: "length of the log", marks: Marks::Powers(2.0), format: bytes };
    let times = Chart {
        name: "opening",
        title: "Opening and reading a log of records of 1 KiB, in the page cache",
        x: lengths(),
        y: Axis {
            label: "time",
            marks: Marks::Powers(10.0),
            format: |ms| if ms >= 1000.0 { format!("{} s", ms / 1e3) } else { format!("{ms} ms") },
        },
        series: times.into(),
    };
    times.keep(report)?;
    let memory = Chart {
        name: "memory",
        title: "Memory of an open log",
        x: lengths(),
        y: Axis { label: "resident, MiB", marks: Marks::FromZero, format: |mib| format!("{mib:.1}") },
        series: memory.into(),
    };
    memory.keep(report)
}
