//! Many clients on a real Redis server to which all that can happen to a server happens: see `locker_tests::soak`.

fn main() -> std::process::ExitCode {
    locker_tests::soak::main()
}
