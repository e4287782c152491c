//! The way back: `mtls.enabled = false`, and every device uses its API key.

use crate::device::{Device, by_certificate};
use crate::proxy::Proxy;
use crate::server::Site;
use crate::walk::{beat, certified};

#[test]
fn without_mtls_every_device_uses_its_api_key_and_with_it_again_its_certificate() {
    let mut site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let proxy = Proxy::to(server.address);
    let agent = certified(&server, &admin, &proxy.url());
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate");
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    device.beat(&device.by_key(&server)).expect(200);
    server.stop();

    site.set("mtls.enabled", "false");
    let server = site.start();
    proxy.redirect(server.address);
    assert_eq!(beat(&agent)["authenticationMethod"], "ApiKey");
    device.beat(&device.by_key(&server)).expect(200);
    device.beat(&by_certificate(&server, &identity).api_key(&device.api_key)).expect(200);
    device.beat(&by_certificate(&server, &identity)).refused(401, "AUTHENTICATION_REQUIRED");
    server.stop();

    site.set("mtls.enabled", "true");
    let server = site.start();
    proxy.redirect(server.address);
    assert_eq!(beat(&agent)["authenticationMethod"], "Certificate");
    device.beat(&by_certificate(&server, &identity)).expect(200);
}
