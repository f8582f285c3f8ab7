//! The one cfg of the sources that is not a feature of theirs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PLANTS").is_some() {
        println!("cargo::rustc-cfg=wal_plants");
    }
}
