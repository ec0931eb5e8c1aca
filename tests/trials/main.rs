//! Repeats trials of quorums: see `locker_tests::trials`.

fn main() -> std::process::ExitCode {
    locker_tests::trials::main()
}
