//! Gives the shared library its SONAME. The number is the ABI's: it changes when a program linked against an older one would break.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux" || os == "android" || os.ends_with("bsd")) {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwal.so.0");
    }
}
