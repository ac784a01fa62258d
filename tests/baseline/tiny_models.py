"""Models of random weights in folders, as their libraries save them: nothing is downloaded."""


def save_timm(folder, name="test_vit", seed=0):
    """Save a timm model; the name of the encoder that loads it."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    save_for_hf(model, str(folder), safe_serialization=True)
    return f"timm:local-dir:{folder}", model


def save_clip(folder, seed=0):
    """Save a tiny CLIP image tower with its processor; the encoder's name, model, processor."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(folder)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(folder)
    return f"hf:{folder}", model, processor


def save_vit(folder, seed=0):
    """Save a tiny ViT with its processor; the encoder's name, model, processor."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return f"hf:{folder}", model, processor
