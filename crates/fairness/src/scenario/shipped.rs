//! The scenarios that come with Giliran.

/// Name and text of each.
pub const SHIPPED: [(&str, &str); 9] = [
    ("calm", include_str!("calm.toml")),
    ("batam", include_str!("batam.toml")),
    ("national", include_str!("national.toml")),
    ("flash", include_str!("flash.toml")),
    ("scalpers-2018", include_str!("scalpers-2018.toml")),
    ("sprinters", include_str!("sprinters.toml")),
    ("recyclers", include_str!("recyclers.toml")),
    ("insiders", include_str!("insiders.toml")),
    ("forgers", include_str!("forgers.toml")),
];

#[cfg(test)]
mod tests {
    use super::super::{parse, shipped};
    use super::*;

    #[test]
    fn every_shipped_scenario_can_be_run_and_has_its_own_name() {
        for (name, text) in SHIPPED {
            let scenario = parse(text, name).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(scenario.name, name);
        }
        assert_eq!(shipped("nowhere"), None);
    }

    #[test]
    fn they_have_the_proportions_they_are_known_for() {
        let of = |name| shipped(name).unwrap_or_else(|| panic!("{name} is not shipped"));
        assert_eq!(of("national").offices.count, 126);
        let flash = of("flash");
        assert_eq!(flash.people.parties / flash.offices.places(), 700);
        let scalpers = of("scalpers-2018");
        assert_eq!(scalpers.attackers[0].accounts, Some(200));
        assert_eq!(scalpers.attackers[0].identities, Some(72_000));
        let calm = of("calm");
        assert!(calm.people.parties * 5 / 4 < calm.offices.places());
        assert_eq!(of("batam").offices.places(), 5 * (200 + 4 * 80));
    }
}
