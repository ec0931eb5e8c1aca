//! Starts thousands of commands under locks, and stops and kills what belongs to them: see `locker_tests::chaos`.

fn main() -> std::process::ExitCode {
    locker_tests::chaos::main()
}
