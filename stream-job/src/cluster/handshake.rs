//! The handshake on one stream. Who connects proves itself first; only then does the other side, so that nothing made
//! with the secret goes to a stranger.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::{
    self, PROTOCOL, Preamble, SMALL, read_frame, read_preamble, write_frame, write_preamble,
};
use super::hello::{Hello, Refusal};
use super::proof::{MAC_BYTES, Mac, Nonce, Secret, Side, equal, nonce, prove};

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The link broke, or the other side does not speak this protocol.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// One side refused the other.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

type Answer = Result<(), Refusal>;

/// The connecting side: proves itself, and comes back when it was let in.
pub(super) async fn connect(
    stream: &mut TcpStream,
    secret: &Secret,
    hello: &Hello,
) -> Result<(), Failure> {
    let ours = nonce()?;
    let theirs = greet(stream, ours, Greeting::Connecting).await?;
    let message = frame::encode(hello);
    let proof = prove(secret, Side::Connecting, &ours, &theirs, &message);
    stream.write_all(&proof).await?;
    write_frame(stream, &message).await?;
    let (proof, message) = read_proven(stream).await?;
    let answer: Answer = frame::decode(&message)?;
    let expected = prove(secret, Side::Accepting, &ours, &theirs, &message);
    match answer {
        // Who has another secret can prove nothing to us.
        Err(Refusal::Secret) => Err(Refusal::Secret.into()),
        _ if !equal(&proof, &expected) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it does not know the secret (SPANFLOW_CLUSTER_SECRET)",
        )
        .into()),
        answer => Ok(answer?),
    }
}

/// A process that has proved itself and waits to be let in.
#[derive(Debug)]
pub(super) struct Knock {
    stream: TcpStream,
    connecting: Nonce,
    accepting: Nonce,
    pub(super) hello: Hello,
}

/// The accepting side, up to the proof.
pub(super) async fn hear(mut stream: TcpStream, secret: &Secret) -> Result<Knock, Failure> {
    let ours = nonce()?;
    let theirs = greet(&mut stream, ours, Greeting::Accepting).await?;
    let (proof, message) = read_proven(&mut stream).await?;
    let expected = prove(secret, Side::Connecting, &theirs, &ours, &message);
    if !equal(&proof, &expected) {
        let answer: Answer = Err(Refusal::Secret);
        // Not made with the secret: a stranger learns only that it was refused.
        stream.write_all(&[0; MAC_BYTES]).await?;
        write_frame(&mut stream, &frame::encode(&answer)).await?;
        return Err(Refusal::Secret.into());
    }
    Ok(Knock {
        hello: frame::decode(&message)?,
        stream,
        connecting: theirs,
        accepting: ours,
    })
}

impl Knock {
    /// Lets it in, or says why not.
    pub(super) async fn answer(
        mut self,
        secret: &Secret,
        answer: Answer,
    ) -> Result<TcpStream, Failure> {
        let message = frame::encode(&answer);
        let proof = prove(
            secret,
            Side::Accepting,
            &self.connecting,
            &self.accepting,
            &message,
        );
        self.stream.write_all(&proof).await?;
        write_frame(&mut self.stream, &message).await?;
        answer?;
        Ok(self.stream)
    }
}

#[derive(Clone, Copy)]
enum Greeting {
    Connecting,
    Accepting,
}

/// Exchanges preambles; both sides send theirs first, so that both can name a difference of versions.
async fn greet(stream: &mut TcpStream, nonce: Nonce, side: Greeting) -> Result<Nonce, Failure> {
    let ours = Preamble {
        protocol: PROTOCOL,
        nonce,
    };
    write_preamble(stream, &ours).await?;
    let theirs = read_preamble(stream).await?;
    if theirs.protocol != PROTOCOL {
        let (connecting, accepting) = match side {
            Greeting::Connecting => (PROTOCOL, theirs.protocol),
            Greeting::Accepting => (theirs.protocol, PROTOCOL),
        };
        return Err(Refusal::Protocol {
            connecting,
            accepting,
        }
        .into());
    }
    Ok(theirs.nonce)
}

async fn read_proven(stream: &mut TcpStream) -> io::Result<(Mac, Vec<u8>)> {
    let mut proof = [0; MAC_BYTES];
    stream.read_exact(&mut proof).await?;
    Ok((proof, read_frame(stream, SMALL).await?))
}
