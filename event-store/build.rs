//! Builds this crate anew when a migration is added: the compiler itself only watches those that it knows.

fn main() {
    println!("cargo:rerun-if-changed=../migrations/sqlite");
}
