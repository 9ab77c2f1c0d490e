//! From a trace's number to its messages: which template, which ids, which times, which words.

use std::sync::Arc;

use super::template::{self, SPANS, Template};
use super::wire::Slot;

/// Turns that a session has before its place is taken by a new one.
const TURNS: u64 = 6;
const USERS: u64 = 500;
/// Bytes of words to cut texts from. Longer than any window of the compressor, so that texts compress as texts do.
const WORDS_BYTES: usize = 16 << 20;
const VOCABULARY: usize = 4_000;

/// Makes traces; equal for an equal seed.
#[derive(Debug)]
pub(super) struct Traces {
    seed: u64,
    sessions: u64,
    templates: Vec<Template>,
    words: Arc<[u8]>,
    buffer: Vec<u8>,
}

/// When the spans of a trace are.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// The trace starts then, ns since 1970, and takes its time.
    Starts(u64),
    /// All spans of a message end within its last microseconds: then, ns since 1970.
    Ends(u64),
}

impl Traces {
    /// Traces of `sessions` concurrent sessions, each in messages of `per_message` spans, with texts cut from [`words`].
    pub(super) fn new(seed: u64, sessions: u64, per_message: usize, words: Arc<[u8]>) -> Self {
        Self {
            seed,
            sessions,
            templates: template::all(per_message),
            words,
            buffer: Vec::new(),
        }
    }

    /// The messages of a trace.
    pub(super) fn messages(&self, number: u64) -> usize {
        self.template(number).messages.len()
    }

    /// The key of a trace's messages: its id as 32 hex digits.
    pub(super) fn key(&self, number: u64) -> [u8; 32] {
        let mut key = [0; 32];
        write_hex(&self.trace_id(number), &mut key);
        key
    }

    /// One message of a trace.
    pub(super) fn message(&mut self, number: u64, part: usize, when: When) -> &[u8] {
        let mut buffer = std::mem::take(&mut self.buffer);
        let template = self.template(number);
        let message = &template.messages[part];
        buffer.clear();
        buffer.extend_from_slice(&message.bytes);
        let trace_id = self.trace_id(number);
        let session = mix(self.seed ^ 0x5e55, self.session(number));
        // Steps of one trace are slower or faster together: 0.75 to 1.25 times the template's.
        let pace = 768 + mix(self.seed ^ 0x9ace, number) % 512;
        let mut random = mix(self.seed ^ 0x7e87, number * SPANS as u64 + part as u64);
        for &(at, slot) in &message.slots {
            match slot {
                Slot::TraceId => buffer[at..at + 16].copy_from_slice(&trace_id),
                Slot::SpanId(span) => {
                    let id = mix(self.seed ^ 0x59a2, number * SPANS as u64 + span as u64) | 1;
                    buffer[at..at + 8].copy_from_slice(&id.to_be_bytes());
                }
                Slot::Start(span) | Slot::End(span) => {
                    let (start, end) = times(template.times_us[span], pace, span, when);
                    let time = if matches!(slot, Slot::Start(_)) {
                        start
                    } else {
                        end
                    };
                    buffer[at..at + 8].copy_from_slice(&time.to_le_bytes());
                }
                Slot::SessionDigits => write_hex(&session.to_be_bytes(), &mut buffer[at..at + 16]),
                Slot::UserDigits => write_decimal(session % USERS, &mut buffer[at..at + 4]),
                Slot::Text(length) => {
                    random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                    let from = (random >> 33) as usize % (self.words.len() - length);
                    buffer[at..at + length].copy_from_slice(&self.words[from..from + length]);
                }
            }
        }
        self.buffer = buffer;
        &self.buffer
    }

    /// The session of a trace: every session in turn has one, and ends after [`TURNS`].
    fn session(&self, number: u64) -> u64 {
        let place = number % self.sessions;
        let turn = number / self.sessions;
        // Places end their sessions at different turns.
        (turn + place % TURNS) / TURNS * self.sessions + place
    }

    /// A session stays with its agent.
    fn template(&self, number: u64) -> &Template {
        let variants = template::variants() as u64;
        let agents = self.templates.len() as u64 / variants;
        let agent = mix(self.seed ^ 0xa9e7, self.session(number)) % agents;
        let variant = mix(self.seed ^ 0x7a21, number) % variants;
        &self.templates[(agent * variants + variant) as usize]
    }

    fn trace_id(&self, number: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&mix(self.seed ^ 0x7ace, number).to_be_bytes());
        // The number itself makes ids differ for certain.
        id[8..].copy_from_slice(&(mix(self.seed, 0) ^ (number + 1)).to_be_bytes());
        id
    }
}

fn times((start, end): (u64, u64), pace: u64, span: usize, when: When) -> (u64, u64) {
    let ns = |us: u64| us * pace / 1024 * 1_000;
    match when {
        When::Starts(at) => (at + ns(start), at + ns(end)),
        When::Ends(at) => {
            // The root, span 0, ends last.
            let end_at = at - (SPANS - 1 - (span + SPANS - 1) % SPANS) as u64 * 1_000;
            (end_at - ns(end - start), end_at)
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014) of a seed and a number.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Lower-case words, the first of the vocabulary far more often than the last, as in a language.
pub(super) fn words(seed: u64) -> Arc<[u8]> {
    const SYLLABLES: [&str; 24] = [
        "an", "ber", "co", "den", "er", "fi", "gra", "ho", "in", "ka", "lo", "men", "no", "or",
        "pre", "qui", "re", "sta", "ti", "un", "ver", "wa", "xi", "yo",
    ];
    let vocabulary: Vec<String> = (0..VOCABULARY as u64)
        .map(|word| {
            let bits = mix(seed ^ 0x3023, word);
            (0..1 + bits % 4)
                .map(|i| SYLLABLES[(bits >> (8 + 8 * i)) as usize % SYLLABLES.len()])
                .collect()
        })
        .collect();
    let mut text = Vec::with_capacity(WORDS_BYTES + 32);
    let mut number = 0;
    while text.len() < WORDS_BYTES {
        let bits = mix(seed ^ 0x3024, number);
        let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
        // The cube of a uniform number leans to the front of the vocabulary.
        let word = (uniform.powi(3) * VOCABULARY as f64) as usize;
        text.extend_from_slice(vocabulary[word].as_bytes());
        text.push(b' ');
        number += 1;
    }
    text.truncate(WORDS_BYTES);
    text.into()
}

fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn write_decimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
