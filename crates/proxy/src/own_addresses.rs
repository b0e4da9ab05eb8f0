//! The addresses of this machine, followed as the kernel tells of them.
//!
//! Owns no choice among them: node ports and a Node take those that are theirs.

use std::net::IpAddr;

use kernel::Errno;
use kernel::rtnl::{self, AddressNews};
use runtime::Drain;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tracing::warn;

/// Every address, loopback included, of the network namespace of the caller: marked changed each time that one comes, goes, or becomes
/// usable, until `drain` starts. Must be called inside a tokio runtime.
///
/// # Errors
/// If the kernel cannot be asked. When it cannot be later on, the last known addresses stay.
pub fn follow(drain: Drain) -> Result<watch::Receiver<Vec<IpAddr>>, Errno> {
    // Before the first look, so that nothing changes unheard in between.
    #[expect(deprecated, reason = "what it asks for holds: AddressNews owns its descriptor, which never changes")]
    let mut news = AsyncFd::new(AddressNews::open()?)?;
    let (told, addresses) = watch::channel(all()?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                heard = hear(&mut news) => match heard {
                    Ok(()) => {}
                    Err(error) => return warn!(%error, "changes of this machine's addresses are no longer heard of"),
                },
                () = drain.started() => return,
            }
            match tokio::task::spawn_blocking(all).await {
                Ok(Ok(now)) => drop(told.send_replace(now)),
                Ok(Err(error)) => warn!(%error, "this machine's addresses are not known"),
                Err(_) => return,
            }
        }
    });
    Ok(addresses)
}

fn all() -> Result<Vec<IpAddr>, Errno> {
    Ok(rtnl::addresses()?.into_iter().map(|it| it.address).collect())
}

/// Waits for news, of which many may come at once.
async fn hear(news: &mut AsyncFd<AddressNews>) -> std::io::Result<()> {
    loop {
        let mut ready = news.readable_mut().await?;
        let any = ready.get_inner_mut().any().map_err(|errno| std::io::Error::from_raw_os_error(errno.0))?;
        ready.clear_ready();
        if any {
            return Ok(());
        }
    }
}
