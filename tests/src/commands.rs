//! What is done from the machine the server runs on.

use crate::harness::*;

on_both_backends! {
    async fn a_password_set_from_the_machine_is_as_long_as_the_installation_wants(world: World) {
        let ada = world.user("ada").await;
        let wish = json!({"security": {"password_min_length": 12}});
        world.admin().await.put("settings/system", wish).await.expect(200);
        world.server.stop().await;
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a plain path");
        for (password, accepted) in [("twelve-chars", true), ("eleven-char", false)] {
            std::fs::write(path, format!("{password}\n")).expect("written");
            let reset = ["admin", "reset-password", "--email", ada.email.as_str(), "--password-file", path];
            let create = ["admin", "create-user", "--email", "grace@example.com", "--password-file", path];
            for command in [&reset[..], &create] {
                let output = world.command(command).await;
                assert_eq!(output.status.success(), accepted, "{output:?}");
                assert!(accepted || output.stderr.contains("12 to 1000"), "{output:?}");
            }
        }
        world.server.start_again().await;
        for email in [ada.email.as_str(), "grace@example.com"] {
            world.log_in(email, "twelve-chars").await;
        }
    }
}
