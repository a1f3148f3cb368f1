//! Layers that move what follows: VLAN tags, MPLS labels, PPPoE sessions, and frames in GENEVE and VXLAN.

use super::ports::PortTest;
use super::{Build, Built, From, Layers, Link, Off, ether};
use crate::filter::Source;
use crate::filter::ast::{ArithOp, Shift};
use crate::filter::link::LinkType;
use crate::filter::pred::{Cc, Meta, Pred, PredId, Value, ValueId, Var};
use crate::filter::words::Dir;

const UDP: u8 = 17;
const GENEVE_PORT: u32 = 6081;
const VXLAN_PORT: u32 = 4789;

impl Build<'_> {
    pub(super) fn shift(&mut self, shift: Shift, number: Option<u32>) -> Built<PredId> {
        match shift {
            Shift::Vlan => self.vlan(number),
            Shift::Mpls => self.mpls(number),
            Shift::Pppoes => self.pppoes(number),
            Shift::Geneve => self.tunnel(GENEVE_PORT, (0, 0xc0), "Geneve", number),
            Shift::Vxlan => self.tunnel(VXLAN_PORT, (0x08, 0xff), "VXLAN", number),
        }
    }

    fn at_most(&self, what: &str, number: Option<u32>, most: u32) -> Built<()> {
        match number {
            Some(number) if number > most => {
                self.fail(format!("{what} {number} greater than maximum {most}"))
            }
            _ => Ok(()),
        }
    }

    fn vlan(&mut self, tag: Option<u32>) -> Built<PredId> {
        if self.layers.labels > 0 {
            return self.fail("no VLAN match after MPLS");
        }
        let cooked = self.layers.link == Link::Outer(LinkType::Sll2) && !self.options.strict;
        if self.layers.link != Link::Outer(LinkType::Ethernet) && !cooked {
            let name = self.link_name();
            return self.fail(format!("no VLAN support for {name}"));
        }
        // The kernel takes the outermost tag out of the frame; behind a header in the place of the link's it is again where
        // the filter is asked (`cooked`).
        let taken_out = !cooked
            && matches!(self.options.source, Source::Socket | Source::Tc { .. })
            && self.layers.vlans == 0
            && self.layers.header == Off::at(0);
        let tagged = if taken_out { self.vlan_taken_out(tag)? } else { self.vlan_in_frame(tag)? };
        self.layers.vlans += 1;
        Ok(tagged)
    }

    fn vlan_types(&mut self) -> Built<PredId> {
        let dot1q = self.linktype(ether::VLAN)?;
        let dot1ad = self.linktype(ether::VLAN_AD)?;
        let either = self.preds.or(dot1q, dot1ad);
        let qinq = self.linktype(ether::VLAN_QINQ)?;
        Ok(self.preds.or(either, qinq))
    }

    fn vlan_in_frame(&mut self, tag: Option<u32>) -> Built<PredId> {
        let types = self.vlan_types()?;
        self.at_most("VLAN tag", tag, 0xfff)?;
        let test = match tag {
            Some(tag) => {
                let test = self.masked(From::Network, 0, 2, tag, 0x0fff);
                self.preds.and(types, test)
            }
            None => types,
        };
        let add = self.layers.payload.add;
        self.layers.payload.add = add.wrapping_add(4);
        if let Some(linktype) = &mut self.layers.linktype {
            // In a header of Linux the type does not stand before what it tells of; a tag ends with the next one.
            let cooked = self.layers.link == Link::Outer(LinkType::Sll2);
            linktype.add = if cooked { add.wrapping_add(2) } else { linktype.add.wrapping_add(4) };
        }
        Ok(test)
    }

    /// What follows lies 4 bytes further only if the tag is still in the frame, which shows when the filter runs.
    fn vlan_taken_out(&mut self, tag: Option<u32>) -> Built<PredId> {
        let out = self.meta(Meta::VlanPresent, 1);
        let types = self.vlan_types()?;
        self.at_most("VLAN tag", tag, 0xfff)?;
        let inside = tag.map(|_| self.load(From::Network, 0, 2));
        let mut sets = Vec::new();
        self.layers.payload = self.moved(self.layers.payload, &mut sets)?;
        if let Some(linktype) = self.layers.linktype {
            self.layers.linktype = Some(self.moved(linktype, &mut sets)?);
        }
        self.set_before(types, sets);
        let tagged = self.preds.or(out, types);
        let (Some(tag), Some(inside)) = (tag, inside) else { return Ok(tagged) };
        let present = self.preds.add(Value::Meta(Meta::VlanPresent));
        let taken = self.preds.add(Value::Meta(Meta::VlanTag));
        let number = self.preds.add(Value::Choose { a: present, is: 1, then: taken, other: inside });
        let number = self.preds.bin_number(ArithOp::And, number, 0x0fff);
        let tag = self.preds.number(tag);
        let test = self.preds.test(Cc::Eq, number, tag);
        Ok(self.preds.and(tagged, test))
    }

    /// The same place with 4 added to its variable part.
    fn moved(&mut self, off: Off, sets: &mut Vec<(Var, ValueId)>) -> Built<Off> {
        let var = match off.var {
            Some(var) => var,
            None => {
                self.take_register()?;
                self.var()
            }
        };
        let value = self.preds.add(Value::Var(var));
        sets.push((var, self.preds.bin_number(ArithOp::Add, value, 4)));
        Ok(Off { var: Some(var), ..off })
    }

    /// Sets variables before the first test of `pred`.
    fn set_before(&mut self, pred: PredId, sets: Vec<(Var, ValueId)>) {
        let mut at = pred;
        loop {
            match &mut self.preds.nodes[at.0 as usize] {
                Pred::And(first, _) | Pred::Or(first, _) | Pred::Not(first) => at = *first,
                Pred::Test(test) => {
                    test.sets.splice(0..0, sets);
                    return;
                }
            }
        }
    }

    fn mpls(&mut self, label: Option<u32>) -> Built<PredId> {
        /// PPP's number for MPLS.
        const PPP_MPLS: u32 = 0x0281;
        let labelled = match self.layers.link {
            // The label before is not the last of its stack.
            _ if self.layers.labels > 0 => self.masked(From::Network, 2u32.wrapping_sub(4), 1, 0, 0x01),
            Link::Outer(LinkType::Ethernet) => self.linktype(ether::MPLS)?,
            Link::Ppp => self.linktype(PPP_MPLS)?,
            Link::Outer(_) => {
                let name = self.link_name();
                return self.fail(format!("no MPLS support for {name}"));
            }
        };
        self.at_most("MPLS label", label, 0xf_ffff)?;
        let test = match label {
            Some(label) => {
                let test = self.masked(From::Network, 0, 4, label << 12, 0xffff_f000);
                self.preds.and(labelled, test)
            }
            None => labelled,
        };
        self.layers.network = self.layers.network.wrapping_add(4);
        self.layers.network_llc = self.layers.network_llc.wrapping_add(4);
        self.layers.labels += 1;
        Ok(test)
    }

    fn pppoes(&mut self, session: Option<u32>) -> Built<PredId> {
        let is = self.linktype(ether::PPPOES)?;
        self.at_most("PPPoE session number", session, 0xffff)?;
        let test = match session {
            Some(session) => {
                let test = self.masked(From::Network, 0, 4, session, 0xffff);
                self.preds.and(is, test)
            }
            None => is,
        };
        let network = self.network();
        let header = Off { add: network.add.wrapping_add(6), ..network };
        self.layers.link = Link::Ppp;
        self.layers.encapsulated = false;
        self.layers.header = header;
        self.layers.linktype = Some(header);
        self.layers.payload.add = header.add.wrapping_add(2);
        self.layers.network = 0;
        self.layers.network_llc = 0;
        Ok(test)
    }

    /// Frames in UDP behind a header of 8 bytes; `flags` are what the header's first byte must be under a mask.
    fn tunnel(&mut self, port: u32, flags: (u32, u32), name: &str, vni: Option<u32>) -> Built<PredId> {
        let start = self.var();
        let mut versions = Vec::new();
        for v6 in [false, true] {
            let ports = self.ports_of(v6, PortTest::One(port), Some(UDP), Some(Dir::Dst))?;
            let from = if v6 { From::Ipv6Payload } else { From::Ipv4Payload };
            let first = self.masked(from, 8, 1, flags.0, if flags.1 == 0xff { u32::MAX } else { flags.1 });
            let mut test = self.preds.and(ports, first);
            self.at_most(&format!("{name} VNI"), vni, 0xff_ffff)?;
            if let Some(vni) = vni {
                let network = self.masked(from, 12, 4, vni << 8, 0xffff_ff00);
                test = self.preds.and(test, network);
            }
            let length = self.ip_header(v6);
            let zero = self.preds.number(0);
            let known = self.preds.test_setting(vec![(start, length)], Cc::Eq, zero, zero);
            versions.push(self.preds.and(test, known));
        }
        let either = self.any(&versions);
        let begin = self.preds.add(Value::Var(start));
        let begin = self.preds.bin_number(ArithOp::Add, begin, self.network().add.wrapping_add(8));
        let sets = if port == GENEVE_PORT { self.geneve_layers(begin)? } else { self.vxlan_layers(begin)? };
        let zero = self.preds.number(0);
        let found = self.preds.test_setting(sets, Cc::Eq, zero, zero);
        self.layers.encapsulated = true;
        Ok(self.preds.and(either, found))
    }

    /// Length of the IP header, with the variable part of its place.
    fn ip_header(&mut self, v6: bool) -> ValueId {
        if !v6 {
            return self.ipv4_header();
        }
        let length = self.preds.number(40);
        match self.layers.payload.var {
            None => length,
            Some(var) => {
                let var = self.preds.add(Value::Var(var));
                self.preds.bin(ArithOp::Add, length, var)
            }
        }
    }

    /// Everything that follows is relative to these variables.
    fn encapsulate(&mut self, header: Var, linktype: Var, payload: Var) {
        let variable = |var| Off { add: 0, var: Some(var) };
        self.layers = Layers {
            link: Link::Outer(LinkType::Ethernet),
            header: variable(header),
            linktype: Some(variable(linktype)),
            payload: variable(payload),
            network: 0,
            ..self.layers
        };
    }

    /// `begin`: where the GENEVE header does. Its options are of any number, and a frame may have no Ethernet header.
    fn geneve_layers(&mut self, begin: ValueId) -> Built<Vec<(Var, ValueId)>> {
        let [linktype, header, payload] = self.three_vars()?;
        let first = self.preds.load(Some(begin), 0, 1);
        let words = self.preds.bin_number(ArithOp::And, first, 0x3f);
        let bytes = self.preds.bin_number(ArithOp::Mul, words, 4);
        let bytes = self.preds.bin_number(ArithOp::Add, bytes, 8);
        let frame = self.preds.bin(ArithOp::Add, bytes, begin);
        let kind = self.preds.load(Some(begin), 2, 2);
        let at = |build: &mut Self, plus| build.preds.bin_number(ArithOp::Add, frame, plus);
        let (inner_type, inner_payload) = (at(self, 12), at(self, 14));
        let own_type = self.preds.bin_number(ArithOp::Add, begin, 2);
        let mut choose =
            |then, other| self.preds.add(Value::Choose { a: kind, is: ether::BRIDGED, then, other });
        let (type_at, payload_at) = (choose(inner_type, own_type), choose(inner_payload, frame));
        self.encapsulate(header, linktype, payload);
        Ok(vec![(header, frame), (linktype, type_at), (payload, payload_at)])
    }

    fn vxlan_layers(&mut self, begin: ValueId) -> Built<Vec<(Var, ValueId)>> {
        let [linktype, header, payload] = self.three_vars()?;
        let at = |build: &mut Self, plus| build.preds.bin_number(ArithOp::Add, begin, plus);
        let sets = vec![(header, at(self, 8)), (linktype, at(self, 20)), (payload, at(self, 22))];
        self.encapsulate(header, linktype, payload);
        Ok(sets)
    }

    fn three_vars(&mut self) -> Built<[Var; 3]> {
        for _ in 0..3 {
            self.take_register()?;
        }
        Ok([self.var(), self.var(), self.var()])
    }
}
