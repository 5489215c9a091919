//! The `xenbuild` program: parses, runs one command, chooses an exit code.

fn main() -> std::process::ExitCode {
    xenbuild::cli::main()
}
