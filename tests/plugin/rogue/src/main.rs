//! A program that does what its arguments tell it, mostly evil.

#[cfg(target_family = "wasm")]
mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    wit_bindgen::generate!({ path: "../../../wit", world: "plugin", generate_all });
}

#[cfg(target_family = "wasm")]
fn main() {
    use bindings::locker::locker::locker::{LockOutcome, Options, lock};

    let take = |name: &str, ttl_ms: u64, wait_ms: u64| {
        lock(name, &Options { ttl_ms: Some(ttl_ms), wait_ms: Some(wait_ms), owner: None, token: None })
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["loop"] => loop {
            std::hint::black_box(());
        },
        ["allocate"] => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
            }
        }
        ["trap"] => std::process::abort(),
        ["fail"] => std::process::exit(1),
        ["say", text] => print!("{text}"),
        ["input"] => println!("{}", std::io::read_to_string(std::io::stdin()).unwrap_or_default()),
        ["read", path] => println!("{:?}", std::fs::read_to_string(path)),
        ["write", path, text] => println!("{:?}", std::fs::write(path, text)),
        ["env"] => println!("{:?}", std::env::vars().collect::<Vec<_>>()),
        ["connect", address] => println!("{:?}", std::net::TcpStream::connect(address).map(|_| "connected")),
        ["take", ref names @ ..] => {
            for name in names {
                match take(name, 60_000, 0) {
                    Ok(LockOutcome::Granted(_)) => println!("took {name}"),
                    Ok(LockOutcome::Held(_)) => println!("{name} is held"),
                    Err(error) => println!("{error:?}"),
                }
            }
        }
        ["take-and-trap", name] => {
            _ = take(name, 60_000, 60_000);
            println!("took {name}");
            std::process::abort();
        }
        ["wait", name] => println!("{}", matches!(take(name, 60_000, 60_000), Ok(LockOutcome::Granted(_)))),
        ["name-of", bytes] => println!("{:?}", take(&"x".repeat(bytes.parse().unwrap_or_default()), 1000, 0)),
        _ => println!("what?"),
    }
}

#[cfg(not(target_family = "wasm"))]
fn main() {}
