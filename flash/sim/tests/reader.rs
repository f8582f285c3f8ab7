//! A dump of the chip is read by the reader that was written from `docs/FORMAT.md` alone.
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Command;

use wal_flash::chip::Geometry;
use wal_flash_sim::chip::Flash;
use wal_flash_sim::judge::{Memory, Model, Op, open, settings, show};

#[test]
fn the_python_reader_reads_a_dump() {
    for unit in [1, 8, 16, 32, 256] {
        for erased in [0xFF, 0] {
            let geometry = Geometry { block_bytes: 2048, blocks: 12, segment_blocks: 2, unit, erased };
            let flash = RefCell::new(Flash::new(geometry, false));
            let mut memory = Memory::new(&geometry, 256);
            let settings = settings(geometry, true);
            let mut model = Model::default();
            for ops in [
                &[Op::Small, Op::Big, Op::GivenUp, Op::Batch, Op::Checkpoint, Op::Pieces, Op::Small][..],
                &[Op::Big, Op::Truncate, Op::Batch, Op::Prepare, Op::Big],
                &[Op::Small],
            ] {
                let mut log = open(&flash, &mut memory, settings).expect("opens");
                for op in ops {
                    model.run(&mut log, *op, true).unwrap_or_else(|fail| panic!("unit {unit}, {op:?}: {fail:?}"));
                }
            }
            let wanted = show(&mut open(&flash, &mut memory, settings).expect("opens")).lines();
            let dump = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("flash-{unit}-{erased}.img"));
            fs::write(&dump, flash.borrow().bytes()).expect("a dump");
            let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reader/walread.py");
            let output = Command::new("python3").arg(reader).arg("--raw").arg(&dump).output().expect("python3");
            let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "unit {unit}: {complaint}");
            let said: Vec<&str> = said.lines().collect();
            assert_eq!(said.len(), wanted.len() + 1, "unit {unit}: records and a summary\n{}", said.join("\n"));
            for (said, wanted) in said.iter().zip(&wanted) {
                assert!(said.starts_with(wanted.as_str()), "unit {unit}: {said} instead of {wanted}");
            }
        }
    }
}
