//! Variants of a recipe over seeds: what they share is made once, and a second time nothing is made.

use std::path::Path;

use crate::harness::Place;

fn made(place: &Place, stage: &str) -> usize {
    let folder = place.path("runs/artifacts").join(stage);
    std::fs::read_dir(folder).unwrap().filter(|e| e.as_ref().unwrap().path().join("manifest.json").exists()).count()
}

#[test]
fn variants_share_what_is_the_same_and_are_compared() {
    let place = Place::new();
    let text = "name = \"reg\"\nbase = \"tiny.toml\"\nseeds = [1, 2]\n[set.train]\nsteps = 6\nvalid_every = 3\n\
        [[variants]]\nname = \"plain\"\nset.model.dropout = 0.0\n\
        [[variants]]\nname = \"averaged\"\nset.train.average = { kind = \"ema\", decay = 0.5 }\n";
    std::fs::write(place.path("ablation.toml"), text).unwrap();
    let first = place.json(&["ablate", "ablation.toml", "--json"]);
    assert_eq!((made(&place, "clean"), made(&place, "tokenizer"), made(&place, "train")), (1, 1, 4));
    let variants = first["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["plain", "averaged"]);
    assert_eq!(variants[0]["difference"]["mean"], 0.0);
    assert!(variants[1]["bits_per_byte"]["deviation"].as_f64().unwrap() > 0.0, "seeds differ: {first}");
    assert!(variants[1]["difference"]["mean"] != 0.0 && variants[1]["valid_loss"]["mean"].as_f64().unwrap() > 1.0);
    let table = std::fs::read_to_string(place.path(first["table"].as_str().unwrap())).unwrap();
    assert!(table.contains("| averaged |") && table.contains(" ± "), "{table}");
    assert_eq!(place.json(&["ablate", "ablation.toml", "--json"]), first);
    assert_eq!(made(&place, "evaluate"), 4);
}

/// The ablation of the repository is one that parses, every variant of it.
#[test]
fn the_ablation_recipe_can_be_run() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/ablation.toml");
    let file = danlu_pipeline::ablation::AblationFile::load(&path).unwrap();
    assert_eq!(file.ablation.seeds.len(), 3);
    assert!(file.recipes.len() > 8);
}
