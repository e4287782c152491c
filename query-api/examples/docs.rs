//! Serves the documentation of the reading routes on a loopback port, to look at the page in a browser.
#![expect(clippy::print_stdout, reason = "tells the address")]

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}/docs", listener.local_addr()?);
    axum::serve(listener, signalbeam_query_api::documentation(signalbeam_query_api::openapi())).await
}
