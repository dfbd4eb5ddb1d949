//! What stays true when a call fails, an image is another, or a registry is not honest.

use serde_json::{Value, json};

use super::world::World;

fn facts(found: &Value) -> (&str, &str, &str) {
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    (text("status"), text("update_type"), text("latest_tag"))
}

#[tokio::test]
async fn what_one_registry_has_lost_another_may_have() {
    let mut world = World::new().await;
    world.fake.index('1', &[('a', "amd64")]);
    world.fake.index('2', &[('a', "amd64"), ('b', "arm64")]);
    world.fake.tag("lab/app", "latest", '2');
    world.fake.tag("lab/other", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    let index = world.fake.known.lock().unwrap().manifests.remove(&'1').unwrap();
    for asked in [3, 1] {
        world.scan().await;
        assert_eq!(facts(&world.found("c1").await), ("available", "digest_only", "latest"));
        assert_eq!(world.fake.asked().len(), asked, "what is gone is asked for once");
    }
    world.fake.known.lock().unwrap().manifests.insert('1', index);
    let other = format!("{}/lab/other", world.fake.address);
    let named = format!("{other}@{}", world.fake.digest('1'));
    world.run_image(2, &format!("{other}:latest"), &[named], &[]).await;
    world.scan().await;
    assert_eq!(world.found("c2").await["status"], "up_to_date");
}

#[tokio::test]
async fn a_forged_index_hides_no_update() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.fake.index('2', &[('b', "amd64")]);
    world.run(1, "latest", &['a'], &[]).await;
    let entry = json!({"digest": world.fake.digest('a'),
                       "platform": {"os": "linux", "architecture": "amd64"}});
    let forged = json!({"manifests": [entry]}).to_string();
    world.fake.known.lock().unwrap().forged = Some(forged);
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(found["status"], "unknown", "{found}");
    assert!(found["error"].as_str().unwrap().contains("not the one of digest"), "{found}");
    world.fake.known.lock().unwrap().forged = None;
    world.scan().await;
    assert_eq!(world.found("c1").await["status"], "available");
}

#[tokio::test]
async fn newer_tags_are_offered_where_the_own_tag_is_gone() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "1.0.0", '1');
    world.run(1, "1.0.0", &['1'], &[]).await;
    world.fake.untag("lab/app", "1.0.0");
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(found["status"], "unknown", "{found}");
    assert!(found["error"].as_str().unwrap().contains("has no tag `1.0.0`"), "{found}");
    world.fake.tag("lab/app", "1.1.0", '2');
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(facts(&found), ("available", "minor", "1.1.0"));
    assert!(found["error"].as_str().unwrap().contains("has no tag `1.0.0`"), "{found}");
}

#[tokio::test]
async fn that_a_tag_moved_is_told_without_a_list_of_tags() {
    let mut world = World::new().await;
    world.fake.known.lock().unwrap().hides_tags = true;
    world.fake.tag("lab/app", "1.0.0", '2');
    world.run(1, "1.0.0", &['1'], &[]).await;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(facts(&found), ("available", "digest_only", "1.0.0"), "{found}");
    assert!(found["error"].as_str().unwrap().contains("wants a login"), "{found}");

    world.fake.known.lock().unwrap().hides_tags = false;
    world.fake.tag("lab/app", "1.1.0", '3');
    world.scan().await;
    world.fake.known.lock().unwrap().hides_tags = true;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(facts(&found), ("available", "minor", "1.1.0"), "the larger update is kept");
    assert_eq!(found["stale"], true);
}

#[tokio::test]
async fn a_list_that_is_cut_says_nothing_of_what_is_newest() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "1.0.0", '1');
    world.fake.tag("lab/app", "1.1.0", '2');
    world.run(1, "1.0.0", &['1'], &[]).await;
    world.scan().await;
    {
        let mut known = world.fake.known.lock().unwrap();
        let tags = known.tags.get_mut("lab/app").unwrap();
        // They come before the others in the list.
        tags.extend((0..100_000).map(|number| (format!("0.9.{number:06}"), '1')));
    }
    world.scan().await;
    let list = world.get("/updates").await;
    assert_eq!(facts(&list["updates"][0]), ("available", "minor", "1.1.0"), "{list}");
    let problem = &list["problems"][0];
    assert_eq!((&problem["container_name"], &problem["stale"]), (&json!("c1"), &json!(true)));
    assert!(problem["error"].as_str().unwrap().contains("more than 50000 tags"), "{list}");
}

#[tokio::test]
async fn a_digest_that_is_known_is_that_of_the_same_image() {
    let mut world = World::new().await;
    for (repository, letter) in [("lab/app", '2'), ("lab/other", '3')] {
        world.fake.tag(repository, "1.0.0", '1');
        world.fake.tag(repository, "1.1.0", letter);
    }
    let image = |repository: &str, end: &str| {
        (
            format!("{}/{repository}:1.0.0{end}", world.fake.address),
            format!("{}/{repository}@{}", world.fake.address, world.fake.digest('1')),
        )
    };
    let by_digest = format!("@{}", world.fake.digest('1'));
    let cases = [image("lab/app", ""), image("lab/other", ""), image("lab/app", &by_digest)];
    for ((image, named), letter) in cases.into_iter().zip(['2', '3', '2']) {
        world.run_image(1, &image, &[named], &[]).await;
        world.scan().await;
        let found = world.found("c1").await;
        assert_eq!(found["latest_digest"], json!(world.fake.digest(letter)), "{image}");
    }
    world.fake.tag("lab/app", "1.1.0", '4');
    world.scan().await;
    let new = world.fake.digest('4');
    let command = world.detail("c1").await["update_command"].as_str().unwrap().to_owned();
    assert!(command.contains(&format!("lab/app:1.1.0@{new}")), "pushed anew: {command}");
}

#[tokio::test]
async fn what_a_swarm_has_found_is_no_wish_of_the_user() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    let digest = world.fake.digest('1');
    world.edit(1, "containers", |mut said| {
        let image = format!("{}@{digest}", said["Config"]["Image"].as_str().unwrap());
        said["Config"] = json!({"Image": image,
                                "Labels": {"com.docker.swarm.service.name": "shop_web"}});
        Some(said)
    });
    world.scan().await;
    let found = world.detail("c1").await;
    assert_eq!(facts(&found), ("available", "digest_only", "latest"), "{found}");
    let image = format!("{}/lab/app:latest", world.fake.address);
    let begin = "docker service update --with-registry-auth --image";
    assert_eq!(found["update_command"], json!(format!("{begin} {image} shop_web")));
    assert_eq!(found["rollback_command"], json!(format!("{begin} {image}@{digest} shop_web")));
}

#[tokio::test]
async fn a_container_that_goes_when_it_stops_has_no_command() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    world.edit(1, "containers", |mut said| {
        said["HostConfig"] = json!({"AutoRemove": true});
        Some(said)
    });
    world.scan().await;
    let found = world.detail("c1").await;
    assert_eq!((&found["status"], found.get("update_command")), (&json!("available"), None));
}

#[tokio::test]
async fn an_image_that_no_registry_has_named_is_not_compared_at_a_mirror_either() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "1.0", '1');
    let mirror = world.fake.address.to_string();
    world.run(1, "1.0", &[], &[("registry", &mirror)]).await;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(found["status"], "untracked", "{found}");
}

#[tokio::test]
async fn commands_and_digest_stay_while_the_engine_does_not_tell_of_an_image() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    world.scan().await;
    let before = world.detail("c1").await;
    assert!(before["rollback_command"].is_string(), "{before}");
    world.edit(1, "images", |_| None);
    world.scan().await;
    let found = world.detail("c1").await;
    assert_eq!(found["stale"], true, "{found}");
    for key in ["status", "image", "current_tag", "current_digest", "update_command"] {
        assert_eq!(found[key], before[key], "{key}");
    }
    assert_eq!(found["rollback_command"], before["rollback_command"]);
}
