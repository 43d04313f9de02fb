//! The binary: everything is in [`provision::cli`].

fn main() -> std::process::ExitCode {
    provision::cli::main()
}
