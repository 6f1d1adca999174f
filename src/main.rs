//! The `kalends` program: arguments to `cli`, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    kalends::cli::main()
}
