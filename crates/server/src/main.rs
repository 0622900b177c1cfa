//! The program: see `server --help`.

use std::process::ExitCode;

/// Of this program and of the embedded database within it, which both make many small allocations on several threads.
/// Without huge pages: with them an idle server would occupy twice the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}
