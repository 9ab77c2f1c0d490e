//! Options of the links.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// A silent link is asked for a sign of life after this long, and again at this interval.
const ASK_AFTER: Duration = Duration::from_secs(4);
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_TIMES: u32 = 3;
/// A link whose other end takes nothing in for this long is lost: timely has no heartbeat of its own.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Makes a stream fit for timely: nothing waits for a full packet, and a link whose other end is gone fails in about
/// ten seconds, whether or not there is something to send.
pub(super) fn set_options(stream: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(ASK_AFTER)
        .with_interval(ASK_EVERY)
        .with_retries(ASK_TIMES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(LOST_AFTER))?;
    Ok(())
}

/// Whether the other end of a non-blocking stream, from which nothing is due, has hung up or spoken out of turn.
pub(super) fn is_gone(stream: &impl AsFd) -> bool {
    match SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]) {
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_link_notices_within_ten_seconds_that_its_other_end_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_options(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(LOST_AFTER));
        let silent_for = socket.tcp_keepalive_time().unwrap()
            + socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert!(silent_for <= LOST_AFTER);
    }
}
