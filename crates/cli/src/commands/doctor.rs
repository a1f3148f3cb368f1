//! `skep doctor`.
pub(crate) fn run(_options: &crate::args::Doctor) -> anyhow::Result<std::process::ExitCode> {
    for check in skep::doctor::checks(&skep::LiveTarget::new()) {
        println!("{:?} {} {} {}", check.status, check.name, check.detail, check.mend);
    }
    Ok(std::process::ExitCode::SUCCESS)
}
