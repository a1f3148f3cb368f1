//! Probes on packets: `xdp:INTERFACE` and `tc:INTERFACE:ingress|egress` enter, one instance for each interface leaves, with
//! what its frames begin with and how a program reads them.

use super::missing::unmatched;
use super::tracing::cannot;
use super::{Fault, Instance, ProbeKind, Resolver, Spec, bad_form};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::hir::PacketSource;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Attach;
use skep_bpf::target::{Feature, Interface, Target, TargetError, TargetExt};
use skep_bpf::wildcard;
use skep_compiler::layers::{Context, LinkType};

/// The directions of a tc probe.
const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

/// What a frame begins with on hardware of these kinds (`ARPHRD_*`, include/uapi/linux/if_arp.h): Ethernet and loopback;
/// devices without a link layer: PPP, raw IP, tunnels of IP in IP (4 and 6), of IPv6 in IPv4, GRE (4 and 6), none (tun,
/// WireGuard).
const LINKS: &[(u32, LinkType)] = &[
    (1, LinkType::Ethernet),
    (772, LinkType::Ethernet),
    (512, LinkType::Raw),
    (519, LinkType::Raw),
    (768, LinkType::Raw),
    (769, LinkType::Raw),
    (776, LinkType::Raw),
    (778, LinkType::Raw),
    (823, LinkType::Raw),
    (0xfffe, LinkType::Raw),
];

/// Names of probes on packets: interfaces, with a direction for tc.
pub(crate) fn names(kind: ProbeKind, target: &dyn Target) -> Result<Vec<String>, TargetError> {
    let interfaces = target.interfaces()?;
    let of = |i: &Interface| match kind {
        ProbeKind::Xdp => vec![i.name.clone()],
        _ => DIRECTIONS.iter().map(|direction| format!("{}:{direction}", i.name)).collect(),
    };
    Ok(interfaces.iter().filter(|i| link(i).is_some()).flat_map(of).collect())
}

fn link(interface: &Interface) -> Option<LinkType> {
    LINKS.iter().find(|(hardware, _)| *hardware == interface.hardware).map(|(_, link)| *link)
}

/// A program of a map's entries: it runs on the CPU that a frame was sent to.
fn on_cpu(map: &str, (frags, beyond): (bool, bool), span: Span) -> Instance {
    let at = Attach::CpuMap { map: format!("@{map}"), frags };
    let link = LinkType::Ethernet;
    let source = PacketSource { link, context: Context::Xdp, beyond, egress: false };
    let instance = Instance::new(ProbeKind::Xdp, format!("xdp:@{map}"), ProgType::Xdp, at, span);
    Instance { packet: Some(source), attach_type: AttachType::XdpCpumap, ..instance }
}

impl Resolver<'_> {
    pub(super) fn xdp(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let frags = self.has(Feature::XdpFrags);
        if let [before, at, map] = spec.parts.as_slice()
            && (before.as_str(), at.as_str()) == ("", "@")
        {
            return Ok(vec![on_cpu(map, (frags, frags && !self.xdp_first), span)]);
        }
        let [name] = spec.parts.as_slice() else { return Err(bad_form(spec, span)) };
        self.on_interfaces(spec, name, span, &|name, link| {
            let at = Attach::Xdp { interface: name.to_owned(), mode: self.xdp_mode, frags };
            let shown = format!("xdp:{name}");
            let source =
                PacketSource { link, context: Context::Xdp, beyond: frags && !self.xdp_first, egress: false };
            let instance = Instance::new(ProbeKind::Xdp, shown, ProgType::Xdp, at, span);
            vec![Instance { packet: Some(source), ..instance }]
        })
    }

    pub(super) fn tc(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let [name, direction] = spec.parts.as_slice() else { return Err(bad_form(spec, span)) };
        let directions: Vec<&str> =
            DIRECTIONS.into_iter().filter(|known| wildcard::matches(direction, known)).collect();
        if directions.is_empty() {
            return Err(bad_form(spec, span));
        }
        self.on_interfaces(spec, name, span, &|name, link| {
            let of = |direction: &&str| {
                let egress = *direction == "egress";
                let at = Attach::Tc { interface: name.to_owned(), egress };
                let shown = format!("tc:{name}:{direction}");
                let source = PacketSource { link, context: Context::Skb, beyond: true, egress };
                let instance = Instance::new(ProbeKind::Tc, shown, ProgType::SchedCls, at, span);
                Instance { packet: Some(source), ..instance }
            };
            directions.iter().map(of).collect()
        })
    }

    /// Instances on each interface that a name or pattern stands for.
    fn on_interfaces(
        &self,
        spec: &Spec,
        name: &str,
        span: Span,
        make: &dyn Fn(&str, LinkType) -> Vec<Instance>,
    ) -> Result<Vec<Instance>, Fault> {
        if name.is_empty() {
            return Err(bad_form(spec, span));
        }
        if self.options.pid.is_some() {
            let message = format!(
                "-p does not go with {} probes: a packet belongs to no process here",
                spec.kind.name()
            );
            let d = Diagnostic::error("no-process", span, message);
            return Err(Box::new(d.hint("a predicate can compare addresses and ports")));
        }
        let all =
            self.target.interfaces().map_err(|error| cannot("list network interfaces", &error, span))?;
        let hits: Vec<&Interface> = all.iter().filter(|i| wildcard::matches(name, &i.name)).collect();
        if hits.is_empty() && !wildcard::has_wildcard(name) {
            return Err(unmatched(spec.kind, name, span, names(ProbeKind::Xdp, self.target)));
        }
        let mut out = Vec::new();
        for interface in hits {
            match link(interface) {
                Some(link) => out.extend(make(&interface.name, link)),
                None if wildcard::has_wildcard(name) => {}
                None => {
                    let message = format!(
                        "{} has hardware of kind {} (ARPHRD), whose frames skep does not know",
                        interface.name, interface.hardware
                    );
                    let d = Diagnostic::error("unknown-link", span, message);
                    return Err(Box::new(
                        d.hint("it knows Ethernet, loopback and devices that carry bare IP"),
                    ));
                }
            }
        }
        Ok(out)
    }
}
