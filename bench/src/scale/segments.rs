//! Logs of the same small segments, 1 to 10 000 of them.

use super::grown;
use crate::abi::Outcome;
use crate::charts::{Axis, Chart, Marks, Series};
use crate::figures::{Table, bytes, us};
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

/// The least that there is.
const SEGMENT: u64 = 4 << 10;
const RECORD: u64 = 256;

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, report: &Report) -> Outcome<()> {
    let columns = ["segments of 4 KiB", "open after a kill", "open, clean", "for each segment", "read", "replay", "memory, open"];
    table.grid("Logs by the number of segments, in the page cache", &columns);
    let counts: &[u64] = match plan.extent {
        Extent::Check => &[10],
        Extent::Quick => &[1, 10, 100, 1000],
        Extent::Full => &[1, 10, 100, 1000, 10_000],
    };
    let dir = place.fresh("segments")?;
    let mut times = ["open after a kill", "open after a clean close"].map(|name| Series { name: name.into(), points: Vec::new() });
    for &count in counts {
        let (killed, clean) = grown::visits(dir.path(), SEGMENT, RECORD, count)?;
        table.line(vec![
            count.to_string(),
            us(killed.open_ms * 1e3),
            us(clean.open_ms * 1e3),
            format!("{:.1} us", clean.open_ms * 1e3 / count as f64),
            bytes(clean.bytes_read),
            us(clean.read_s * 1e6),
            bytes(clean.open_memory),
        ]);
        for (series, ms) in times.iter_mut().zip([killed.open_ms, clean.open_ms]) {
            series.points.push((count as f64, ms));
        }
    }
    let chart = Chart {
        name: "segments",
        title: "Opening a log by the number of its segments",
        x: Axis { label: "segments", marks: Marks::Powers(10.0), format: |count| format!("{count}") },
        y: Axis { label: "milliseconds", marks: Marks::Powers(10.0), format: |ms| format!("{ms}") },
        series: times.into(),
    };
    chart.keep(report)
}
