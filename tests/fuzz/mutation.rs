//! What chance makes of inputs.

/// What has surprised programs before.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\x1f",
    b"\x7f",
    b"\xff",
    b"\xed\xa0\x80",
    "\u{85}".as_bytes(),
    "\u{202e}".as_bytes(),
    "🔒".as_bytes(),
    b"{",
    b"}",
    b"{}",
    b"/",
    b"..",
    b"%00",
    b"*",
    b"-1",
    b"0",
    b"2147483648",
    b"9223372036854775807",
    b"18446744073709551615",
    b"99999999999999999999",
];
/// Longer than anything that is allowed anywhere.
const LONGEST: usize = 100_000;

pub(super) struct Mutation {
    chance: fastrand::Rng,
}

impl Mutation {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self { chance }
    }

    /// One of the inputs, changed in a few places.
    pub(super) fn of_one(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one(inputs).clone();
        for _ in 0..self.chance.usize(1..=4) {
            self.change(&mut input, inputs);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let (from, to) = self.range(input.len());
        match self.chance.u8(0..10) {
            0 => {
                let word = *self.one(&WORDS);
                insert(input, from, word);
            }
            1 => _ = input.splice(from..to, self.one(&WORDS).iter().copied()),
            2 => _ = input.drain(from..to),
            3 => input.truncate(from),
            4 => {
                let many = self.chance.usize(1..9);
                let bytes: Vec<_> = std::iter::repeat_with(|| self.chance.u8(..)).take(many).collect();
                insert(input, from, &bytes);
            }
            5 if !input.is_empty() => input[from.min(to.saturating_sub(1))] ^= 1 << self.chance.u8(0..8),
            6 => {
                let again = input[from..to].repeat(self.chance.usize(1..4));
                insert(input, to, &again);
            }
            7 => {
                // Over one limit or another.
                let long = input[from..to].repeat(*self.one(&[8, 64, 600, 5000]));
                insert(input, to, &long[..long.len().min(LONGEST)]);
            }
            8 => {
                let other = self.one(inputs);
                let (other_from, other_to) = self.range(other.len());
                input.splice(from..to, other[other_from..other_to].iter().copied());
            }
            _ => self.change_number(input),
        }
    }

    /// Makes another number of one of those that stand there.
    fn change_number(&mut self, input: &mut Vec<u8>) {
        let is_start = |at: &usize| input[*at].is_ascii_digit() && (*at == 0 || !input[*at - 1].is_ascii_digit());
        let starts: Vec<_> = (0..input.len()).filter(is_start).collect();
        if starts.is_empty() {
            return;
        }
        let from = *self.one(&starts);
        let digits = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Of any size: as many small ones as large ones.
        let number = self.chance.u64(..) >> self.chance.u8(0..64);
        input.splice(from..from + digits, number.to_string().bytes());
    }

    fn range(&mut self, len: usize) -> (usize, usize) {
        let (a, b) = (self.chance.usize(0..=len), self.chance.usize(0..=len));
        (a.min(b), a.max(b))
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.chance.usize(0..of.len())]
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
